package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Loop looks when it is told to. All fields are needed unless they say otherwise.
type Loop struct {
	// Records are the records of the node.
	Records Records
	// Node returns the node's configuration.
	Node func() Node
	// Rules is the kernel's ruleset.
	Rules Rules
	// HasAddress reports whether the node has an address. A sync may call it for every
	// address that a policy names as an egress address.
	HasAddress func(netip.Addr) (bool, error)
	// Services returns the ports of the node's services, and ports that other programs
	// publish. chosen are the ports that policies give to flows. nil reserves none.
	Services func(chosen []masq.PortRange) ([]masq.PortRange, error)
	// Forward makes sure that uplinks, and links that are ours by their names,
	// forward what enters by them, and returns the settings that it had to put back.
	Forward func(ours func(name string) bool, families []masq.Family) ([]string, error)
	// Links restores the links of containers; nil leaves them alone.
	Links *Links
	// Untranslated and EgressRemoved delete flows, and return how many there were: those
	// of Flows.
	Untranslated  func(context.Context, Whose) (int, error)
	EgressRemoved func(context.Context, Whose, []netip.Addr) (int, error)
	// Reload reads anew what the records are read from, before a look that nobody
	// asked for.
	Reload func() error
	// Cleanup removes attachments whose container is gone, at each resync.
	Cleanup *Cleanup
	// Resync is the time between looks that nobody asked for, unless the node's
	// configuration gives another.
	Resync time.Duration
	// Spent returns the processor time of the process so far; nil takes the clock for it.
	Spent func() time.Duration
	Log   *slog.Logger

	last   memory
	links  bool // links may have gone since the last sweep
	budget budget

	mu      sync.Mutex
	pending request
	gone    []netip.Addr // addresses that the next look is to hear of
	stats   Stats
	heard   transactions
	wake    chan struct{}
	urgent  chan struct{}
	once    sync.Once
}

// Records are the records of attachments, as Cache has them.
type Records interface {
	// Snapshot returns all of them.
	Snapshot() Snapshot
	// Refresh makes sure that what was written before the call is known.
	Refresh() error
	// Reread is Refresh for the records of some keys, by their digests.
	Reread(digests ...string)
	// Changes returns what changed since it was called before.
	Changes() []RecordChange
	// Claims returns the records that have an address, or a link, in the order in which
	// their attachments were made.
	Claims(ruleset.Subject) []*store.Record
	// Owner returns the state of the record with this digest of a key.
	Owner(digest string) Ownership
	// Uses returns what the records need, and how many need it.
	Uses() map[Use]int
}

// Rules is the kernel's ruleset, as nft.Conn has it.
type Rules interface {
	Generation() (uint32, error)
	// SyncStructure makes everything but the elements of live sets what is desired. It is
	// nft.ErrConflict where something was left because a newer attachment may need it.
	SyncStructure(nft.Desired) (nft.StructureResult, error)
	// Scan returns which elements of live sets differ; complete is false where that may
	// be wrong, because others changed the sets.
	Scan(want ruleset.Table) (changes []nft.Difference, complete bool, err error)
	// Element reads one element of a live set.
	Element(set, key string) (e ruleset.LiveElement, found bool, err error)
	// Edit adds and removes elements of live sets, with a generation other than 0 only
	// while the ruleset is of that one: nft.ErrConflict otherwise. It is
	// nft.ErrStructure where their set or chain is missing.
	Edit(add, remove []ruleset.LiveElement, generation uint32) (large bool, err error)
}

func (l *Loop) init() {
	l.once.Do(func() {
		l.wake, l.urgent = make(chan struct{}, 1), make(chan struct{}, 1)
		l.stats.Requests, l.stats.Repairs, l.stats.Errors = map[string]int{}, map[string]int{}, map[string]int{}
	})
}

// AddressesRemoved notes addresses that the node no longer has. A look is to be asked for.
func (l *Loop) AddressesRemoved(addresses []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, addresses...)
}

// EventsLost notes that news were lost, and asks for a look at everything.
func (l *Loop) EventsLost() {
	l.init()
	l.mu.Lock()
	l.stats.LostEvents++
	l.heard = transactions{lost: true}
	l.mu.Unlock()
	l.RequestSync("lost", Urgent, Everything)
}

// Expect tells, before the first look, what policies translated to until now, so
// that flows which left with an address that is no longer among them are found.
func (l *Loop) Expect(snat []netip.Addr) {
	l.last.snat = map[netip.Addr]bool{}
	for _, a := range snat {
		l.last.snat[a] = true
	}
}

const (
	// stormAfter is the number of repairs in a row that makes a storm, and calm the
	// time without one that ends it.
	stormAfter = 20
	calm       = time.Second
	// quiet is the time without a look after which memory that looks used goes back
	// to the node.
	quiet = time.Second
	// A look that failed is made again after this time, and after twice the time
	// whenever it fails again, up to the other.
	retryFirst = 100 * time.Millisecond
	retryMost  = 10 * time.Second
)

// Run looks until the context ends. The first look is at once.
func (l *Loop) Run(ctx context.Context) {
	l.init()
	l.RequestSync("start", Urgent, Everything)
	resync, idle, retry := time.NewTimer(l.jittered()), time.NewTimer(quiet), time.NewTimer(0)
	defer resync.Stop()
	defer idle.Stop()
	retry.Stop()
	patience := retryFirst
	var row int // repairs that followed on one another
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			debug.FreeOSMemory()
			continue
		case <-retry.C:
			l.RequestSync("retry", Soon, Changes)
			continue
		case <-resync.C:
			if err := l.Reload(); err != nil {
				l.Log.Error("cannot read the records anew", "err", err)
			}
			l.sweep()
			l.RequestSync("resync", Soon, Forwarding|AllLinks|Generation)
			resync.Reset(l.jittered())
			continue
		case <-l.wake:
		}
		begun := time.Now()
		l.mu.Lock()
		l.stats.Started = begun
		r := l.pending
		l.last.gone = append(l.last.gone, l.gone...)
		l.pending, l.gone = request{}, nil
		l.mu.Unlock()
		select {
		case <-l.urgent: // this look is what it asks for
		default:
		}
		spent := l.spent()
		worked, drifted := l.sync(ctx, begun, r)
		// On a busy node, and while others hold the lock of transactions, a sync waits.
		took := min(time.Since(begun), l.spent()-spent)
		if worked {
			idle.Reset(quiet)
		}
		if l.Stats().Problem == "" {
			patience = retryFirst
		} else {
			retry.Reset(patience)
			patience = min(2*patience, retryMost)
		}
		if drifted {
			if begun.Sub(last) > calm {
				row = 0
			}
			last = time.Now()
			if row++; row == stormAfter {
				l.mu.Lock()
				l.stats.RepairLoops++
				l.mu.Unlock()
				l.Log.Warn("another program keeps changing table inet masq or the links of containers; each change is repaired, at a bounded pace", "repairs", row)
			}
		}
		if !l.rest(ctx, took) {
			return
		}
	}
}

// spent is the processor time so far.
func (l *Loop) spent() time.Duration {
	if l.Spent == nil {
		return time.Duration(time.Now().UnixNano())
	}
	return l.Spent()
}

// rest waits until the next look may be; false where the context ended.
func (l *Loop) rest(ctx context.Context, took time.Duration) bool {
	l.budget.spend(time.Now(), took)
	urgent, pause := l.urgent, time.NewTimer(min(restOf*took, restMost))
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-pause.C:
			return true
		case <-urgent:
			if l.isInteractive() || l.budget.left(time.Now()) {
				return true
			}
			urgent = nil // it has to wait as all others
		}
	}
}

// isInteractive reports whether a person waits for the next sync.
func (l *Loop) isInteractive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.urgency == Interactive
}

// sweep removes attachments whose container is gone.
func (l *Loop) sweep() {
	records := l.Records.Snapshot().Records
	if !l.links && !l.Cleanup.Due(records) {
		return
	}
	done, err := l.Cleanup.Run(time.Now(), records)
	l.mu.Lock()
	l.stats.Removed += done.Removed
	l.stats.Restored += done.Restored
	l.mu.Unlock()
	if l.links = err != nil; l.links {
		l.failed("links")
		l.Log.Error("cannot look for attachments whose container is gone", "err", err)
	}
}

// jittered is the time until the next resync: nodes that were started together do
// not look together for ever.
func (l *Loop) jittered() time.Duration {
	every := l.Resync
	if asked := l.Node().Resync; asked != 0 {
		every = asked
	}
	return every - every/10 + rand.N(every/5+1)
}
