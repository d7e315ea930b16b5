package reconcile

import (
	"reflect"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestSetOf: a set that is made alone equals that set of the complete table, also if several
// attachments claim an address.
func TestSetOf(t *testing.T) {
	c := newSyncTest(t, 3)
	again := numbered(2)
	again.ContainerID, again.SpoofCheck, again.Created = "again", true, time.Unix(9, 0)
	other := *again.Policy // moves the address to another clamp set
	other.MSSClamp, _ = masq.ClampTo(1300)
	again.Policy = &other
	intent := pending(numbered(1))
	intent.ContainerID, intent.Created = "pending", time.Unix(9, 0)
	c.record(again, false)
	c.record(intent, false)
	live := 0
	for _, s := range c.l.completeTable(NodeConfig{}).Sets {
		if !s.Live {
			continue
		}
		live += len(s.Elements)
		if got := c.l.setOf(s.Name); !reflect.DeepEqual(got, s) {
			t.Errorf("set %s alone: %+v; in the table: %+v", s.Name, got, s)
		}
	}
	if live < 5 {
		t.Errorf("the table has only %d elements: nothing was compared", live)
	}
}

// TestCrowdedNode: with many records the table is created without elements, which follow in
// parts. It is never in memory as a whole, and each part is progress.
func TestCrowdedNode(t *testing.T) {
	c := newSyncTest(t, maxComplete+1)
	c.k.fill(ruleset.Table{})
	complete := c.k.edits
	c.l.stats.LastProgress = time.Time{}
	parts := 0
	c.k.beforeEdit = func() {
		if parts++; c.l.Stats().LastProgress.IsZero() {
			t.Error("a part is not counted as progress")
		}
	}
	c.k.change(nft.Difference{Kind: nft.KindTable, Reason: masq.Missing, Object: "inet masq"})
	if n := c.sync(); n == 0 {
		t.Error("nothing was repaired")
	}
	for i := range maxComplete + 1 {
		if r := numbered(i); !c.has(r) {
			t.Fatalf("attachment %d has no elements", i)
		}
	}
	if parts < 2 || c.k.edits-complete != parts {
		t.Errorf("%d transactions added the elements", parts)
	}
	if !c.k.structures[len(c.k.structures)-1].Unfilled || c.l.last.complete != nil {
		t.Error("the complete table was made")
	}
}
