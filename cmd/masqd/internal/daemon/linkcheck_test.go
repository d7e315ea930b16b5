package daemon

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// fakeLinks finds a difference at the node's end of every link.
type fakeLinks struct{ compared int }

func (f *fakeLinks) Compare(pairs []veth.Pair) (out []veth.Difference, err error) {
	f.compared++
	for _, p := range pairs {
		out = append(out, veth.Difference{Identity: p.Identity, Kind: veth.KindRoute, Reason: masq.Missing, Object: "10.88.0.5"})
	}
	return out, nil
}

func (*fakeLinks) CompareContainer(veth.Pair) ([]veth.Difference, error) { return nil, nil }

// TestLinkCheck checks that a difference becomes a note and requests a repair, and that
// requests within the pause do not compare the links again.
func TestLinkCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, repairs := &fakeLinks{}, 0
		record := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}}, Ready: true}
		c := &linkCheck{
			links:         links,
			cached:        func() []*store.Record { return []*store.Record{&record} },
			read:          func(masq.Key) (store.Record, bool, error) { return record, true, nil },
			synced:        func() bool { return true },
			requestRepair: func() { repairs++ },
			unrepaired:    func() []veth.Difference { return nil },
			requests:      make(chan struct{}, 1),
		}
		go func() { _ = c.run(t.Context()) }()
		if notes := c.notes(); notes != nil {
			t.Errorf("notes before the first check: %q", notes)
		}
		for range 3 {
			synctest.Wait()
			notes := c.notes()
			if len(notes) != 1 || !strings.Contains(notes[0], "differences: 1, the first: n/c/eth0: ") {
				t.Errorf("notes: %q", notes)
			}
		}
		if links.compared != 1 || repairs != 1 {
			t.Errorf("%d comparisons and %d requests for a repair, want 1 and 1", links.compared, repairs)
		}
	})
}
