package helpers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

const (
	// openedTimeout is how long an element of the map `opened` stays without a renewal.
	openedTimeout = 2 * time.Minute
	// transactionInterval is the mean time between transactions for sessions, after
	// transactionBurst of them. Each increments the generation of the ruleset, so that a
	// concurrent ADD plans again: a container that connects in a loop must not slow down the
	// others' ADD for long, and connections that come one after another must not wait.
	transactionInterval = 20 * time.Millisecond
	transactionBurst    = 1000
	// removalDelay is how long the removal of elements waits for another transaction.
	removalDelay = time.Second
)

// errNoTable is the error for elements while the table does not exist.
var errNoTable = errors.New("the table of helpers does not exist")

// owned is the connection that owns the table, nft.Owned.
type owned interface {
	Replace(ruleset.Table) error
	Update(add, remove []ruleset.SetElements) error
	Close() error
}

// input is what the rules are made of.
type input struct {
	attachments []masq.Attachment
	sources     ruleset.Sources
	egress      ruleset.Egress
	listeners   map[masq.Family]ruleset.Listeners
}

// table keeps the owned table in the kernel.
type table struct {
	open func() (owned, error)

	requests chan *request
	removed  chan struct{} // receives a value when removals has elements

	mu      sync.Mutex
	conn    owned         // nil: the table does not exist
	last    ruleset.Table // in the kernel, without the elements of sessions
	spoken  map[string]ruleset.Spoken
	opened  map[string]opened
	removal []ruleset.SetElements
}

type opened struct {
	ruleset.Opened
	until time.Time
}

// request is a change for a session.
type request struct {
	add, remove []ruleset.SetElements
	done        chan error
}

func newTable(open func() (owned, error)) *table {
	return &table{
		open: open, requests: make(chan *request), removed: make(chan struct{}, 1),
		spoken: map[string]ruleset.Spoken{}, opened: map[string]opened{},
	}
}

// sync makes the table the desired one. Elements of sessions stay.
func (t *table) sync(in input) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	want := ruleset.HelperTable(in.attachments, in.sources, in.egress, in.listeners, ruleset.HelperElements{})
	if len(want.Chains) == 0 {
		return t.close()
	}
	if t.conn == nil {
		conn, err := t.open()
		if err != nil {
			return err
		}
		t.conn, t.last = conn, ruleset.Table{}
	}
	add, remove, same := difference(t.last, want)
	if same {
		if len(add)+len(remove) == 0 {
			return nil
		}
		if err := t.conn.Update(add, remove); err == nil {
			t.last = want
			return nil
		}
		// Whatever is wrong with the present table, a new one has no fault.
	}
	if err := t.conn.Replace(ruleset.HelperTable(in.attachments, in.sources, in.egress, in.listeners, t.elements())); err != nil {
		return errors.Join(fmt.Errorf("make table %s: %w", ruleset.HelperTableName, err), t.close())
	}
	t.last = want
	return nil
}

// close deletes the table. t.mu must be held.
func (t *table) close() error {
	if t.conn == nil {
		return nil
	}
	err := t.conn.Close()
	t.conn, t.last = nil, ruleset.Table{}
	return err
}

// delete deletes the table.
func (t *table) delete() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.close()
}

// elements returns the elements of sessions, with the time that is left for each.
func (t *table) elements() (out ruleset.HelperElements) {
	out.Spoken = slices.Collect(maps.Values(t.spoken))
	for key, o := range t.opened {
		left := time.Until(o.until).Round(time.Second)
		if left <= 0 {
			delete(t.opened, key)
			continue
		}
		o.Timeout = left
		out.Opened = append(out.Opened, o.Opened)
	}
	return out
}

// difference compares two tables. same reports that they differ only in the elements of
// attachments.
func difference(before, after ruleset.Table) (add, remove []ruleset.SetElements, same bool) {
	if !reflect.DeepEqual(withoutAttachments(before), withoutAttachments(after)) {
		return nil, nil, false
	}
	for i, s := range after.Sets {
		if !hasAttachments(s) {
			continue
		}
		old, current := elementsOf(before.Sets[i]), elementsOf(s)
		empty := s
		empty.Elements = nil
		if x := missing(old, current); len(x) > 0 {
			add = append(add, ruleset.SetElements{Set: empty, Elements: x})
		}
		if x := missing(current, old); len(x) > 0 {
			remove = append(remove, ruleset.SetElements{Set: empty, Elements: x})
		}
	}
	return add, remove, true
}

// hasAttachments reports whether the elements of a set are attachments.
func hasAttachments(s ruleset.Set) bool {
	n, ok := ruleset.ParseSetName(s.Name)
	return ok && (n.Kind == ruleset.RedirectMap || n.Kind == ruleset.ApartSet)
}

func withoutAttachments(t ruleset.Table) ruleset.Table {
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if hasAttachments(s) {
			t.Sets[i].Elements = nil
		}
	}
	return t
}

func elementsOf(s ruleset.Set) map[string]ruleset.Element {
	out := make(map[string]ruleset.Element, len(s.Elements))
	for _, e := range s.Elements {
		out[e.Key] = e
	}
	return out
}

// missing returns the elements of all that have does not contain.
func missing(have, all map[string]ruleset.Element) (out []ruleset.Element) {
	for key, e := range all {
		if have[key] != e {
			out = append(out, e)
		}
	}
	return out
}

// run makes the changes of sessions until the context ends. Changes that come together are
// one transaction.
func (t *table) run(ctx context.Context) {
	removal := time.NewTimer(0)
	removal.Stop()
	limiter := rate.NewLimiter(rate.Every(transactionInterval), transactionBurst)
	for {
		var all []*request
		select {
		case <-ctx.Done():
			return
		case <-t.removed:
			removal.Reset(removalDelay)
			continue
		case <-removal.C:
		case r := <-t.requests:
			all = append(all, r)
		}
		_ = limiter.Wait(ctx) // the error is that of ctx, and a change after it does no harm
		for more := true; more; {
			select {
			case r := <-t.requests:
				all = append(all, r)
			default:
				more = false
			}
		}
		t.commit(all)
	}
}

// commit makes changes in one transaction. If that fails, it makes one for each, so that each
// has its own error.
func (t *table) commit(all []*request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	removal := t.removal
	t.removal = nil
	if t.conn == nil {
		for _, r := range all {
			r.done <- errNoTable
		}
		return
	}
	together := request{remove: removal}
	for _, r := range all {
		together.add, together.remove = append(together.add, r.add...), append(together.remove, r.remove...)
	}
	if len(together.add)+len(together.remove) == 0 {
		return
	}
	if t.conn.Update(together.add, together.remove) == nil {
		for _, r := range all {
			r.done <- nil
		}
		return
	}
	_ = t.conn.Update(nil, removal) // an element that stays does no harm: its session has ended
	for _, r := range all {
		err := t.conn.Update(r.add, r.remove)
		if errors.Is(err, nft.ErrStructure) {
			t.last = ruleset.Table{} // the next sync makes the table again
		}
		r.done <- err
	}
}

// change adds and removes elements, and returns when the kernel has them.
func (t *table) change(ctx context.Context, add, remove []ruleset.SetElements) error {
	r := &request{add, remove, make(chan error, 1)}
	select {
	case t.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// speak applies a policy to a connection of masqd.
func (t *table) speak(ctx context.Context, s ruleset.Spoken, policy masq.Policy) error {
	key := ruleset.SpokenKey(s.Local, s.Proto)
	t.mu.Lock()
	t.spoken[key] = s
	t.mu.Unlock()
	err := t.change(ctx, []ruleset.SetElements{s.Elements(policy)}, nil)
	if err != nil {
		t.mu.Lock()
		delete(t.spoken, key)
		t.mu.Unlock()
	}
	return err
}

// silence ends speak. The element is removed later.
func (t *table) silence(s ruleset.Spoken, policy masq.Policy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.spoken, ruleset.SpokenKey(s.Local, s.Proto))
	t.remove(s.Elements(policy))
}

// remove removes elements with the next transaction. t.mu must be held.
func (t *table) remove(s ruleset.SetElements) {
	if t.conn == nil {
		return
	}
	t.removal = append(t.removal, s)
	select {
	case t.removed <- struct{}{}:
	default:
	}
}

// allow opens a port, or keeps it open for another period. It returns when the kernel has
// the element.
func (t *table) allow(ctx context.Context, o ruleset.Opened) error {
	o.Timeout = openedTimeout
	key := ruleset.OpenedKey(o.Egress, o.Proto, o.Peer)
	t.mu.Lock()
	t.opened[key] = opened{o, time.Now().Add(openedTimeout)}
	t.mu.Unlock()
	element := []ruleset.SetElements{o.Elements()}
	err := t.change(ctx, element, element) // an element that is only added again keeps its timeout
	if err != nil {
		t.mu.Lock()
		delete(t.opened, key)
		t.mu.Unlock()
	}
	return err
}

// allows reports whether a port is open.
func (t *table) allows(egress netip.AddrPort, proto uint8, peer netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.opened[ruleset.OpenedKey(egress, proto, peer)]
	return ok && time.Now().Before(o.until)
}

// forbid ends allow. The element is removed later.
func (t *table) forbid(egress netip.AddrPort, proto uint8, peer netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := ruleset.OpenedKey(egress, proto, peer)
	if o, ok := t.opened[key]; ok {
		delete(t.opened, key)
		t.remove(o.Elements())
	}
}

// forbidAll is forbid for several ports. It returns when the kernel has none of the elements.
func (t *table) forbidAll(ctx context.Context, all []session.Media) error {
	var elements []ruleset.SetElements
	t.mu.Lock()
	for _, m := range all {
		key := ruleset.OpenedKey(m.Egress, m.Proto, m.Server.Addr())
		if o, ok := t.opened[key]; ok {
			delete(t.opened, key)
			elements = append(elements, o.Elements())
		}
	}
	t.mu.Unlock()
	if len(elements) == 0 {
		return nil
	}
	if err := t.change(ctx, nil, elements); !errors.Is(err, errNoTable) {
		return err
	}
	return nil
}
