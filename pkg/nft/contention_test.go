package nft

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// restless changes the ruleset in its own thread as fast as it can until the test ends,
// and returns the number of its transactions.
func restless(t *testing.T) *atomic.Int64 {
	t.Helper()
	nftables(t, "table inet other { set s { type ipv4_addr; }; }", "-f", "-")
	c, err := Open() // the same namespace
	if err != nil {
		t.Fatal(err)
	}
	n, stop, ended := new(atomic.Int64), make(chan struct{}), make(chan struct{})
	table := func(typ int) op {
		var a netlink.Encoder
		a.Text(1, "restless")
		return op{typ: typ, flags: 0x400, body: a, what: "restless", optional: true}
	}
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := c.commit([]op{table(i % 2 * 2)}, 0); err != nil { // NEWTABLE and DELTABLE
				t.Error(err)
				return
			}
			n.Add(1)
		}
	}()
	t.Cleanup(func() { close(stop); <-ended; _ = c.Close() })
	for n.Load() < 10 { //nolint:revive // it has begun
	}
	return n
}

// TestAddAndRemoveDuringChanges: an ADD that adds a policy, the first one that makes the
// table, and a DEL with many other attachments succeed while the ruleset keeps changing.
func TestAddAndRemoveDuringChanges(t *testing.T) {
	c := kernel(t)
	n := restless(t)
	var all []masq.Attachment
	for i := range manyAttachments + 20 {
		p := masq.Default()
		if i < 10 {
			p.RandomFully = i%2 == 0 // another policy
		}
		a := attachment(fmt.Sprint(i), p, fmt.Sprintf("10.88.1.%d", i+1))
		all = append(all, a)
		if err := c.Add(a, hasAll, func() ([]masq.Attachment, error) { return all, nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := n.Load()
	for i := range 10 {
		if err := c.Remove(all[100+i], hasAll); err != nil {
			t.Fatal(err)
		}
	}
	if n.Load() == before {
		t.Log("no other transaction was made")
	}
	left := slices.Concat(all[:100], all[110:])
	if changes, err := c.Drift(ruleset.For(left, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("%v, %v", texts(changes), err)
	}
}

// TestConcurrentEviction: eight concurrent writers add and remove attachments in a table
// full of elements of dead containers. All succeed, and no element is left.
func TestConcurrentEviction(t *testing.T) {
	c := kernel(t)
	const leftovers, writers = 200, 8
	var dead []masq.Attachment
	for i := range leftovers {
		dead = append(dead, attachment(fmt.Sprint("dead", i), masq.Default(), fmt.Sprintf("10.88.0.%d", i+1)))
	}
	if _, err := c.Apply(ruleset.For(dead, ruleset.Sources{}, everyEgress)); err != nil {
		t.Fatal(err)
	}
	var conns []*Conn // the namespace is the thread's
	for range writers {
		x, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Close() }()
		conns = append(conns, x)
	}
	var wg sync.WaitGroup
	for w, x := range conns {
		wg.Go(func() {
			for i := range 10 {
				p := masq.Default()
				p.RandomFully = w%2 == 0
				a := attachment(fmt.Sprintf("live%d-%d", w, i), p, fmt.Sprintf("10.88.0.%d", w*10+i+1))
				if err := x.Add(a, hasAll, nil, nil); err != nil {
					t.Error(err)
				}
				if err := x.Remove(a, hasAll); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// The elements that name the link of a dead attachment are removed with that
	// attachment.
	changes, err := c.Drift(ruleset.For(dead[writers*10:], ruleset.Sources{}, everyEgress), ruleset.Table{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range changes {
		if x.Parent != "links" && x.Parent != "sources4" || len(changes) != 2*writers*10 {
			t.Errorf("left: %s", x)
		}
	}
}

// TestRemoveDuringFailingTransactions: a failing transaction changes the uses that the
// kernel counts for a chain and changes them back, at the same generation. A DEL that
// reads in between must neither fail nor remove the chain of a remaining attachment.
func TestRemoveDuringFailingTransactions(t *testing.T) {
	c := kernel(t)
	a, b := attachment("a", masq.Default(), "10.88.0.5"), attachment("b", masq.Default(), "10.88.0.6")
	other := attachment("other", rich(t), "10.88.0.7")
	all := []masq.Attachment{b, other}
	if _, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil {
		t.Fatal(err)
	}
	x, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	policy := ruleset.Set{Name: "policy4", Type: "ipv4_addr", Verdict: true, Live: true}
	failing, err := deleteElements(policy, []ruleset.Element{{Key: "10.88.0.6"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 { // long enough for a reader to see it
		failing = append(failing, addTable(0))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := x.check(failing); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 100 {
		if err := c.Add(a, hasAll, func() ([]masq.Attachment, error) { return append(all, a), nil }, nil); err != nil {
			t.Error(err)
			break
		}
		if err := c.Remove(a, hasAll); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
	if changes, err := c.Drift(ruleset.For(all, ruleset.Sources{}, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Errorf("%v, %v", texts(changes), err)
	}
}
