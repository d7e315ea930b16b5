package reconcile

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// fakeKernel simulates the kernel for a Loop: the elements of live sets, links, flows and
// addresses. The test sets the differences in the structure of the table.
type fakeKernel struct {
	loop *Loop // receives each transaction

	mu         sync.Mutex
	changes    []nft.Difference // what SyncStructure finds
	err        error            // of SyncStructure
	conflicts  int              // how often SyncStructure returns ErrConflict
	structures []nft.Desired
	elements   map[elementKey]ruleset.LiveElement
	generation uint32
	busy       time.Duration // how long SyncStructure takes
	onSync     func(n int)   // called by SyncStructure
	large      bool          // the loop's own transactions may hide others
	edits      int
	beforeEdit func()

	lacks      []netip.Addr // addresses of 192.0.2.0/24 and 2001:db8::/64 that the node does not have
	forwarding []string     // what RepairForwarding returns

	aliases  map[int]string               // of links, by index
	linkLeft map[string][]veth.Difference // what cannot be repaired, by identity
	linkErr  error
	allLinks [][]string // identities of each Repair
	someLink []string   // identities of each RepairIndexes

	flows    []conntrack.Flow // stay after DeleteFlows, so that each search finds them
	flowsErr map[conntrack.Status]error
	searches []flowsDeleted
}

// flowsDeleted is a call of DeleteFlows: the filter's status and the flows that matched.
type flowsDeleted struct {
	status conntrack.Status
	flows  []conntrack.Flow
}

// newLoop returns a Loop over a directory with records, and a kernel that has their
// elements and one untranslated flow from each of their addresses.
func newLoop(t *testing.T, k *fakeKernel, records ...store.Record) *Loop {
	t.Helper()
	return newLoopOf(t, k, func(*Deps) {}, records...)
}

func newLoopOf(t *testing.T, k *fakeKernel, change func(*Deps), records ...store.Record) *Loop {
	t.Helper()
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		k.flows = append(k.flows, flowsOf(rec)...)
		if err := r.Put(rec); err != nil {
			t.Fatal(err)
		}
	}
	cache := newCache(r)
	if len(records) > 0 {
		if err := cache.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	d := Deps{
		Records: cache, Node: func() NodeConfig { return NodeConfig{} }, Rules: k, Host: k, DeleteFlows: k.deleteFlows,
		ServicePorts: func([]masq.PortRange) ([]masq.PortRange, error) { return nil, nil },
		Evidence: store.Probes{
			HasLink: func(int) (bool, error) { return false, nil },
			Aliases: func() (map[masq.HostLink]bool, error) { return nil, nil },
			NetNS:   func(masq.NetNS) masq.NetNSState { return masq.NetNSUnknown },
		},
		NetNSState:          func(masq.NodeNetNS) masq.NetNSState { return masq.NetNSUnknown },
		ReloadConfiguration: func() {},
		CPUTime:             func() time.Duration { return time.Duration(time.Now().UnixNano()) },
		ResyncInterval:      time.Hour,
		Log:                 slog.New(slog.DiscardHandler),
	}
	change(&d)
	l, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	k.loop, k.generation, k.elements = l, max(k.generation, 1), map[elementKey]ruleset.LiveElement{}
	k.fill(l.completeTable(NodeConfig{}))
	return l
}

func (k *fakeKernel) SyncStructure(d nft.Desired) (r nft.StructureResult, err error) {
	time.Sleep(k.busy) // only in a bubble of synctest
	k.mu.Lock()
	defer k.mu.Unlock()
	k.structures = append(k.structures, d)
	if k.onSync != nil {
		k.onSync(len(k.structures))
	}
	if k.err != nil {
		return nft.StructureResult{Left: len(k.changes)}, k.err
	}
	r = nft.StructureResult{Changes: k.changes, Large: k.large && len(k.changes) > 0}
	if len(k.changes) > 0 {
		k.transaction(nft.Transaction{Own: true})
		for _, c := range k.changes {
			switch {
			case c.Kind != nft.KindTable || c.Reason != masq.Missing:
			case d.Unfilled:
				k.elements, r.Unfilled = map[elementKey]ruleset.LiveElement{}, true
			default:
				k.fill(d.Complete())
			}
		}
	}
	if k.conflicts > 0 {
		k.conflicts--
		return r, nft.ErrConflict
	}
	return r, nil
}

// fill replaces the kernel's elements by the elements of a table.
func (k *fakeKernel) fill(t ruleset.Table) {
	k.elements = map[elementKey]ruleset.LiveElement{}
	for _, s := range t.Sets {
		for _, e := range s.Elements {
			if s.Live {
				k.elements[elementKey{s.Name, e.Key}] = ruleset.LiveElement{Set: s.Name, Element: e}
			}
		}
	}
}

func (k *fakeKernel) Scan(want ruleset.Table) (out []nft.Difference, complete bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, scanned := map[elementKey]bool{}, map[string]bool{}
	for _, s := range want.Sets {
		scanned[s.Name] = true
		for _, e := range s.Elements {
			if !s.Live {
				continue
			}
			at := elementKey{s.Name, e.Key}
			known[at] = true
			switch is, ok := k.elements[at]; {
			case !ok:
				out = append(out, nft.Difference{Kind: nft.KindElement, Reason: masq.Missing, Parent: s.Name, Object: e.Key})
			case is.Element != e:
				out = append(out, nft.Difference{Kind: nft.KindElement, Reason: masq.Changed, Parent: s.Name, Object: e.Key})
			}
		}
	}
	for at := range k.elements {
		if !known[at] && scanned[at.set] {
			out = append(out, nft.Difference{Kind: nft.KindElement, Reason: masq.Unexpected, Parent: at.set, Object: at.key})
		}
	}
	return out, true, nil
}

func (k *fakeKernel) Element(set, key string) (ruleset.LiveElement, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.elements[elementKey{set, key}]
	return e, ok, nil
}

func (k *fakeKernel) Edit(add, remove []ruleset.LiveElement, generation uint32) (bool, error) {
	if k.beforeEdit != nil {
		k.beforeEdit()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if generation != 0 && generation != k.generation {
		return false, nft.ErrConflict
	}
	k.edits++
	for _, e := range remove {
		delete(k.elements, elementKey{e.Set, e.Key})
	}
	for _, e := range add {
		k.elements[elementKey{e.Set, e.Key}] = e
	}
	k.transaction(nft.Transaction{Own: true})
	return k.large, nil
}

func (k *fakeKernel) Generation() (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, nil
}

// transaction notifies the loop of a transaction.
func (k *fakeKernel) transaction(t nft.Transaction) {
	k.generation++
	t.Generation = k.generation
	if k.loop != nil {
		k.loop.Transaction(t)
	}
}

// change has another program change the structure of the table; without changes, it
// changes another table.
func (k *fakeKernel) change(changes ...nft.Difference) { k.changeBy("nft", changes...) }

func (k *fakeKernel) changeBy(process string, changes ...nft.Difference) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes = changes
	t := nft.Transaction{Process: process, Structure: len(changes) > 0}
	for _, c := range changes {
		t.Exposing = t.Exposing || c.Reason != masq.Unexpected || c.Kind == nft.KindRule
	}
	k.transaction(t)
}

// edit has a process add and delete elements.
func (k *fakeKernel) edit(process string, add, remove []ruleset.LiveElement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := nft.Transaction{Process: process}
	for _, e := range remove {
		delete(k.elements, elementKey{e.Set, e.Key})
		t.Elements = append(t.Elements, nft.ElementEvent{LiveElement: e, Deleted: true})
	}
	for _, e := range add {
		k.elements[elementKey{e.Set, e.Key}] = e
		t.Elements = append(t.Elements, nft.ElementEvent{LiveElement: e})
	}
	k.transaction(t)
}

// comparisons returns how often the structure was compared.
func (k *fakeKernel) comparisons() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.structures)
}

var nodePrefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}

func (k *fakeKernel) HasAddress(a netip.Addr) (bool, error) {
	return slices.ContainsFunc(nodePrefixes, func(p netip.Prefix) bool { return p.Contains(a) }) && !slices.Contains(k.lacks, a), nil
}

func (k *fakeKernel) RepairForwarding(func(string) bool, []masq.Family) ([]string, error) {
	return k.forwarding, nil
}

func (k *fakeKernel) Repair(pairs []veth.Pair) (repaired, left []veth.Difference, err error) {
	var all []string
	for _, p := range pairs {
		all = append(all, p.Identity)
		left = append(left, k.linkLeft[p.Identity]...)
	}
	k.allLinks = append(k.allLinks, all)
	return nil, left, k.linkErr
}

func (k *fakeKernel) RepairIndexes(indexes []int, pairOf func(int, string) (veth.Pair, bool)) (repaired, left []veth.Difference, err error) {
	for _, i := range indexes {
		alias, ok := k.aliases[i]
		if !ok {
			continue
		}
		if p, ok := pairOf(i, alias); ok {
			k.someLink = append(k.someLink, p.Identity)
			repaired = append(repaired, veth.Difference{Identity: p.Identity, Kind: veth.KindRoute, Reason: masq.Missing, Interface: p.HostName, Object: "10.0.0.1/32"})
			left = append(left, k.linkLeft[p.Identity]...)
		}
	}
	return repaired, left, k.linkErr
}

func (k *fakeKernel) deleteFlows(_ context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (int, error) {
	if err := k.flowsErr[filter.Status]; err != nil {
		return 0, err
	}
	s := flowsDeleted{status: filter.Status}
	for i := range k.flows {
		if filter.Match(&k.flows[i]) && match(&k.flows[i]) {
			s.flows = append(s.flows, k.flows[i])
		}
	}
	k.searches = append(k.searches, s)
	return len(s.flows), nil
}

// deleted returns the sources of the untranslated flows that were deleted since the last
// call, and how many searches there were.
func (k *fakeKernel) deleted() (sources []string, searches int) {
	for _, s := range k.searches {
		if s.status != 0 {
			continue
		}
		searches++
		for _, f := range s.flows {
			sources = append(sources, f.Original.Src.String())
		}
	}
	k.searches = nil
	slices.SortFunc(sources, strings.Compare)
	return sources, searches
}

// flowsOf returns an untranslated flow from each address of a record.
func flowsOf(r store.Record) (out []conntrack.Flow) {
	for _, a := range r.Addresses {
		to := netip.MustParseAddr("198.51.100.1")
		if a.Is6() {
			to = netip.MustParseAddr("2001:db8:1::1")
		}
		var f conntrack.Flow
		f.Original.Src, f.Original.Dst, f.Reply.Src = a, to, to
		out = append(out, f)
	}
	return out
}

// write and remove change the directory of a cache, which reads the change. After later and
// removeLater the cache has received no event yet.
func (c *Cache) write(t *testing.T, r store.Record) {
	t.Helper()
	c.later(t, r)
	c.readAgain(c.records.PathOf(r.Digest()))
}

func (c *Cache) remove(t *testing.T, r store.Record) {
	t.Helper()
	c.removeLater(t, r)
	c.readAgain(c.records.PathOf(r.Digest()))
}

func (c *Cache) later(t *testing.T, r store.Record) {
	t.Helper()
	if err := c.records.Put(r); err != nil {
		t.Fatal(err)
	}
}

func (c *Cache) removeLater(t *testing.T, r store.Record) {
	t.Helper()
	if err := c.records.Delete(r.Key); err != nil {
		t.Fatal(err)
	}
}
