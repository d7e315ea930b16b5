package reconcile

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Loop looks when it is told to. All fields are needed unless they say otherwise.
type Loop struct {
	// Records returns every record of the node. Where some cannot be read, it
	// returns the others and an error.
	Records func() ([]store.Record, error)
	// Node returns the node's configuration.
	Node func() Node
	// Apply makes the kernel have what is wanted and returns what was different;
	// the parts of beside are left as they are.
	Apply func(want, beside ruleset.Table) ([]nft.Change, error)
	// Forget deletes the flows of attachments that began without translation and
	// should have had it, and returns how many there were.
	Forget func(context.Context, []masq.Attachment) (int, error)
	// Reload reads anew what the records are read from, before a look that nobody
	// asked for.
	Reload func() error
	// Sweep forgets attachments that are gone, at each resync.
	Sweep *Sweep
	// Resync is the time between looks that nobody asked for, unless the node's
	// configuration gives another.
	Resync time.Duration
	Log    *slog.Logger

	known map[masq.Key]bool // the attachments whose flows were looked after
	owed  bool              // flows of a gap are still to be deleted

	mu    sync.Mutex
	stats Stats
	wake  chan struct{}
	once  sync.Once
}

// Stats is what has come of the looks so far.
type Stats struct {
	Looks    map[string]int // by what set them off
	Repairs  map[string]int // by the kind of what was different
	Storms   int            // times that repairs followed on one another without end
	Failures int            // looks that ended with an error
	Gap      int            // flows that began without translation and were deleted
	// Attachments and Policies are those of the last look.
	Attachments, Policies int
	// Drift is what was different at the last look and could not be mended.
	Drift int
	// Begun is when the look that is under way began; zero between looks.
	Begun time.Time
	// LastLook is when the last look ended well; LastRepair how long the last
	// repair took, from the beginning of its look.
	LastLook   time.Time
	LastRepair time.Duration
	// Seconds is the sum of the time that repairs took.
	RepairSeconds float64
	// Swept is the number of attachments that were forgotten because their links
	// were gone.
	Swept int
	// Lost is how often the kernel had more to tell than there was room for.
	Lost int
	// Problem is why the last look failed, empty where it did not.
	Problem string
}

// stuckAfter is how long a look may take. Tens of thousands of attachments take a
// second.
const stuckAfter = 30 * time.Second

// Stuck reports whether a look has begun and does not end.
func (s Stats) Stuck(now time.Time) bool {
	return !s.Begun.IsZero() && now.Sub(s.Begun) > stuckAfter
}

func (l *Loop) init() {
	l.once.Do(func() {
		l.wake = make(chan struct{}, 1)
		l.stats.Looks, l.stats.Repairs = map[string]int{}, map[string]int{}
	})
}

// Look asks for a look soon, and says why. It never waits.
func (l *Loop) Look(why string) {
	l.init()
	l.mu.Lock()
	l.stats.Looks[why]++
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // one is due already
	}
}

// Lost notes that news were lost, and asks for a look.
func (l *Loop) Lost() {
	l.init()
	l.mu.Lock()
	l.stats.Lost++
	l.mu.Unlock()
	l.Look("lost")
}

// Stats returns a copy.
func (l *Loop) Stats() Stats {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.stats
	out.Looks, out.Repairs = maps.Clone(l.stats.Looks), maps.Clone(l.stats.Repairs)
	return out
}

const (
	// rest is how many times as long as a look the time until the next one is, at
	// least: containers that come and go, and an outside program that flushes in a
	// loop, get a fifth of a core at most.
	rest = 4
	// restMost bounds that time, so that a storm's last repair is not late.
	restMost = 150 * time.Millisecond
	// stormAfter is the number of repairs in a row that makes a storm, and calm the
	// time without one that ends it.
	stormAfter = 20
	calm       = time.Second
)

// Run looks until the context ends. The first look is at once.
func (l *Loop) Run(ctx context.Context) {
	l.init()
	l.Look("start")
	resync := time.NewTimer(l.jittered())
	defer resync.Stop()
	var row int // repairs that followed on one another
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-resync.C:
			if err := l.Reload(); err != nil {
				l.Log.Error("cannot read the records anew", "err", err)
			}
			l.sweep()
			l.Look("resync")
			resync.Reset(l.jittered())
			continue
		case <-l.wake:
		}
		begun := time.Now()
		l.mu.Lock()
		l.stats.Begun = begun
		l.mu.Unlock()
		repaired := l.look(ctx, begun)
		took := time.Since(begun)
		if repaired {
			if begun.Sub(last) > calm {
				row = 0
			}
			last = time.Now()
			if row++; row == stormAfter {
				l.mu.Lock()
				l.stats.Storms++
				l.mu.Unlock()
				l.Log.Warn("another program changes table inet masq again and again; it is repaired each time, at a bounded pace", "repairs", row)
			}
		}
		pause := time.NewTimer(min(rest*took, restMost))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// sweep forgets attachments that are gone.
func (l *Loop) sweep() {
	records, err := l.Records()
	if err != nil {
		l.Log.Warn("some records cannot be read", "err", err)
	}
	n, err := l.Sweep.Run(time.Now(), records)
	if err != nil {
		l.Log.Error("cannot look after attachments that are gone", "err", err)
	}
	l.mu.Lock()
	l.stats.Swept += n
	l.mu.Unlock()
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
