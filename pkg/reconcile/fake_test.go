package reconcile

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// kernel stands for the real one, beneath the loop: its elements are simulated, what is
// wrong with the rest of the table is what a test says.
type kernel struct {
	loop       *Loop // is told of each transaction
	mu         sync.Mutex
	changes    []nft.Difference // what the next comparisons of the structure find
	err        error
	conflicts  int // comparisons that meet a newer attachment's structure
	applied    []nft.Desired
	elements   map[elementKey]ruleset.LiveElement
	generation uint32
	busy       time.Duration // that a comparison takes
	compared   func(n int)   // called after each, if it is set
	put        []string      // forwarding that is put back
	lacks      []netip.Addr  // addresses that the node does not have
	large      bool          // transactions of the loop hide those of others
	edits      int
	beforeEdit func()
}

func (k *kernel) SyncStructure(d nft.Desired) (r nft.StructureResult, err error) {
	time.Sleep(k.busy) // where it is set, time is synctest's
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applied = append(k.applied, d)
	if k.compared != nil {
		k.compared(len(k.applied))
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

// fill gives the kernel the elements of a table.
func (k *kernel) fill(t ruleset.Table) {
	k.elements = map[elementKey]ruleset.LiveElement{}
	for _, s := range t.Sets {
		for _, e := range s.Elements {
			if s.Live {
				k.elements[elementKey{s.Name, e.Key}] = ruleset.LiveElement{Set: s.Name, Element: e}
			}
		}
	}
}

func (k *kernel) Scan(want ruleset.Table) (out []nft.Difference, complete bool, err error) {
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

func (k *kernel) Element(set, key string) (ruleset.LiveElement, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.elements[elementKey{set, key}]
	return e, ok, nil
}

func (k *kernel) Edit(add, remove []ruleset.LiveElement, generation uint32) (bool, error) {
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

func (k *kernel) Generation() (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, nil
}

func (k *kernel) forward(func(string) bool, []masq.Family) ([]string, error) { return k.put, nil }

// transaction has the loop hear of one.
func (k *kernel) transaction(t nft.Transaction) {
	k.generation++
	t.Generation = k.generation
	if k.loop != nil {
		k.loop.Transaction(t)
	}
}

// change has the next comparison find something that another program did to the
// structure of the table; with nothing, another table was changed.
func (k *kernel) change(changes ...nft.Difference) { k.changeBy("nft", changes...) }

func (k *kernel) changeBy(process string, changes ...nft.Difference) {
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
func (k *kernel) edit(process string, add, remove []ruleset.LiveElement) {
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

func (k *kernel) looks() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.applied)
}

// book is records in memory, with a directory that may be ahead of them.
type book struct {
	*Cache
	ahead            map[string]*held // by name: what the directory has and no event said yet
	refreshed, asked int
}

func newBook(t *testing.T, records ...store.Record) *book {
	t.Helper()
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &book{
		Cache: &Cache{records: r, byName: map[string]*held{}, texts: map[string]string{}, content: map[string]*masq.Policy{}, claims: map[netip.Addr][]*held{}, links: map[string]*held{}, uses: map[Use]int{}, unreadable: map[string]bool{}},
		ahead: map[string]*held{},
	}
	for _, r := range records {
		b.write(r)
	}
	return b
}

func (b *book) name(k masq.Key) string { return nameOf(b.records.PathOf(k.Digest())) }

func (b *book) set(name string, h *held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h != nil {
		h.record = b.slim(h.record)
	}
	if h != nil || b.byName[name] != nil {
		b.put(name, h)
	}
}

// write and remove are told at once; later says what the directory has and no event
// has said.
func (b *book) write(r store.Record)  { b.set(b.name(r.Key), &held{record: r}) }
func (b *book) remove(r store.Record) { b.set(b.name(r.Key), nil) }

func (b *book) later(k masq.Key, h *held) { b.ahead[b.name(k)] = h }

func (b *book) Refresh() error {
	b.refreshed++
	for name, h := range b.ahead {
		b.set(name, h)
	}
	clear(b.ahead)
	return nil
}

func (b *book) Reread(digests ...string) {
	for _, d := range digests {
		b.asked++
		name := nameOf(b.records.PathOf(d))
		if h, ok := b.ahead[name]; ok {
			delete(b.ahead, name)
			b.set(name, h)
		}
	}
}

func snapshot(records ...store.Record) Snapshot {
	s := Snapshot{Version: 1}
	for i := range records {
		s.Records = append(s.Records, &records[i])
	}
	return s
}
