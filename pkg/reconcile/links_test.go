package reconcile

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// cables stands for the node's links.
type cables struct {
	at   map[int]string               // index -> alias
	left map[string][]veth.Difference // by identity
	err  error

	all  [][]string // identities of each full comparison
	some []string   // identities of the others
}

func (c *cables) repair(pairs []veth.Pair) (repaired, left []veth.Difference, err error) {
	var all []string
	for _, p := range pairs {
		all = append(all, p.Identity)
		left = append(left, c.left[p.Identity]...)
	}
	c.all = append(c.all, all)
	return nil, left, c.err
}

func (c *cables) repairSome(indexes []int, pairOf func(int, string) (veth.Pair, bool)) (repaired, left []veth.Difference, err error) {
	for _, i := range indexes {
		alias, ok := c.at[i]
		if !ok {
			continue
		}
		if p, ok := pairOf(i, alias); ok {
			c.some = append(c.some, p.Identity)
			repaired = append(repaired, veth.Difference{Identity: p.Identity, Kind: veth.KindRoute, Reason: masq.Missing, Interface: p.HostName, Object: "10.0.0.1/32"})
			left = append(left, c.left[p.Identity]...)
		}
	}
	return repaired, left, c.err
}

func links(c *cables) (*Links, *strings.Builder) {
	var log strings.Builder
	return &Links{All: c.repair, Some: c.repairSome, Log: slog.New(slog.NewTextHandler(&log, nil))}, &log
}

func ready(id string) store.Record {
	r := record(id)
	r.Ready = true
	return r
}

// An event's link is compared alone and once. A missing link, and one that another
// plugin made, is not compared.
func TestLinksRepairWhatIsDamaged(t *testing.T) {
	a, b, chained := ready("a"), ready("b"), ready("chained")
	chained.Chained = true
	all := snapshot(a, b, chained).Records
	c := &cables{at: map[int]string{1: a.Identity(), 2: b.Identity(), 3: chained.Identity()}}
	l, _ := links(c)
	l.Damaged([]int{2, 3, 9})
	l.Damaged([]int{2})
	changes, err := l.repairDamaged(all)
	if err != nil || len(changes) != 1 || changes[0].String() != "route "+b.HostName()+" 10.0.0.1/32: missing" {
		t.Errorf("%v, %v", changes, err)
	}
	for range unknownMax + 1 {
		_, _ = l.repairDamaged(all)
	}
	if !slices.Equal(c.some, []string{b.Identity()}) || len(l.damaged) != 0 {
		t.Errorf("compared %q, %v waits", c.some, l.damaged)
	}
	if _, err := l.repairAll(all); err != nil || len(c.all) != 1 || !slices.Equal(c.all[0], []string{a.Identity(), b.Identity()}) {
		t.Errorf("all: %q, %v", c.all, err)
	}
}

// An event that comes before its record is remembered, and so is one whose repair
// failed.
func TestLinksWait(t *testing.T) {
	a := ready("a")
	c := &cables{at: map[int]string{1: a.Identity()}}
	l, _ := links(c)
	l.Damaged([]int{1})
	_, _ = l.repairDamaged(nil)
	a.Ready = false // the plugin is at work, for however long
	for range 3 * unknownMax {
		_, _ = l.repairDamaged(snapshot(a).Records)
	}
	if c.some != nil {
		t.Fatalf("compared %q, which the plugin works on", c.some)
	}
	a.Ready = true
	c.err = errors.New("no")
	if _, err := l.repairDamaged(snapshot(a).Records); err == nil {
		t.Error("no error")
	}
	c.err = nil
	for range 2 {
		if _, err := l.repairDamaged(snapshot(a).Records); err != nil {
			t.Error(err)
		}
	}
	if len(c.some) != 2 {
		t.Errorf("compared %d times, not once with an error and once without", len(c.some))
	}
}

// What cannot be repaired is said once, and no longer when it is right.
func TestLinksLeft(t *testing.T) {
	a, b := ready("a"), ready("b")
	all := snapshot(a, b).Records
	elsewhere := func(r store.Record) []veth.Difference {
		return []veth.Difference{
			{Identity: r.Identity(), Kind: veth.KindRoute, Reason: masq.Changed, Interface: r.HostName(), Object: "10.0.0.1/32", Have: "eth7", Want: r.HostName()},
			{Identity: r.Identity(), Kind: veth.KindInterface, Reason: masq.Missing},
		}
	}
	c := &cables{at: map[int]string{1: a.Identity(), 2: b.Identity()}, left: map[string][]veth.Difference{a.Identity(): elsewhere(a), b.Identity(): elsewhere(b)}}
	l, log := links(c)
	for range 2 {
		if _, err := l.repairAll(all); err != nil {
			t.Error(err)
		}
	}
	if left := l.Left(); len(left) != 2 || strings.Count(log.String(), "level=WARN") != 2 {
		t.Errorf("left %v, log:\n%s", left, log)
	}
	c.left = nil
	l.Damaged([]int{2})
	if _, err := l.repairDamaged(all); err != nil {
		t.Error(err)
	}
	if left := l.Left(); len(left) != 1 || left[0].Identity != a.Identity() {
		t.Errorf("left %v", left)
	}
}
