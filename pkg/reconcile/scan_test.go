package reconcile

import (
	"reflect"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// A set that is made alone is the one of the complete table, also where several
// attachments claim an address.
func TestSetByItself(t *testing.T) {
	c := churning(t, 3)
	again := numbered(2)
	again.ContainerID, again.SpoofCheck, again.Created = "again", true, time.Unix(9, 0)
	other := *again.Policy // the address leaves the clamp's set of the one before
	other.MSSClamp, _ = masq.ClampTo(1300)
	again.Policy = &other
	pending := numbered(1)
	pending.ContainerID, pending.Ready, pending.Created = "pending", false, time.Unix(9, 0)
	c.b.write(again)
	c.b.write(pending)
	live := 0
	for _, s := range c.l.complete(Node{}).Sets {
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

// A crowded node's table is made without elements, which follow in parts, and is never
// in memory at once. Each part is progress.
func TestCrowdedNode(t *testing.T) {
	c := churning(t, maxComplete+1)
	c.k.fill(ruleset.Table{})
	complete := c.k.edits
	c.l.stats.LastProgress = time.Time{}
	parts := 0
	c.k.beforeEdit = func() {
		if parts++; c.l.Stats().LastProgress.IsZero() {
			t.Error("a part was no progress")
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
	if !c.k.applied[len(c.k.applied)-1].Unfilled || c.l.last.complete != nil {
		t.Error("the complete table was made")
	}
}

// A sync is stuck if it makes no progress, however long it takes.
func TestStuck(t *testing.T) {
	begun := time.Unix(1000, 0)
	for _, tt := range []struct {
		name            string
		begun, advanced time.Time
		after           time.Duration
		want            bool
	}{
		{"between syncs", time.Time{}, begun, time.Hour, false},
		{"a short sync", begun, time.Time{}, stuckAfter, false},
		{"a long one without progress", begun, begun, stuckAfter + 1, true},
		{"a long one with progress", begun, begun.Add(time.Hour), time.Hour + stuckAfter, false},
		{"one that advanced and then stuck", begun, begun.Add(time.Hour), time.Hour + stuckAfter + 1, true},
	} {
		if got := (Stats{Started: tt.begun, LastProgress: tt.advanced}).Stuck(begun.Add(tt.after)); got != tt.want {
			t.Errorf("%s: stuck %t", tt.name, got)
		}
	}
}
