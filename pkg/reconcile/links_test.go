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

// newLinkRepair returns a linkRepair of a fake kernel, and its log.
func newLinkRepair(k *fakeKernel) (*Loop, *strings.Builder) {
	var log strings.Builder
	return &Loop{links: linkRepair{host: k, log: slog.New(slog.NewTextHandler(&log, nil))}}, &log
}

func pointers(records ...store.Record) (out []*store.Record) {
	for i := range records {
		out = append(out, &records[i])
	}
	return out
}

// TestDamagedLinks: the link that an event names is compared alone and once. A missing link
// and a link that another plugin made are not compared.
func TestDamagedLinks(t *testing.T) {
	a, b, chained := record("a"), record("b"), record("chained")
	chained.Chained = true
	all := pointers(a, b, chained)
	k := &fakeKernel{aliases: map[int]string{1: a.Identity(), 2: b.Identity(), 3: chained.Identity()}}
	l, _ := newLinkRepair(k)
	l.LinksDamaged([]int{2, 3, 9})
	l.LinksDamaged([]int{2})
	changes, err := l.links.repairDamaged(all)
	if err != nil || len(changes) != 1 || changes[0].String() != "route "+b.HostName()+" 10.0.0.1/32: missing" {
		t.Errorf("%v, %v", changes, err)
	}
	for range maxUnknownTries + 1 {
		_, _ = l.links.repairDamaged(all)
	}
	if !slices.Equal(k.someLink, []string{b.Identity()}) || len(l.links.damaged) != 0 {
		t.Errorf("compared %q, %v is kept", k.someLink, l.links.damaged)
	}
	if _, err := l.links.repairAll(all); err != nil || len(k.allLinks) != 1 || !slices.Equal(k.allLinks[0], []string{a.Identity(), b.Identity()}) {
		t.Errorf("all: %q, %v", k.allLinks, err)
	}
}

// TestDamagedLinksAreKept: a damaged link is kept for the next sync if its record is not
// known yet, if the plugin is changing it, or if the repair failed.
func TestDamagedLinksAreKept(t *testing.T) {
	a := record("a")
	k := &fakeKernel{aliases: map[int]string{1: a.Identity()}}
	l, _ := newLinkRepair(k)
	l.LinksDamaged([]int{1})
	_, _ = l.links.repairDamaged(nil)
	a.Ready = false // the plugin is changing it
	for range 3 * maxUnknownTries {
		_, _ = l.links.repairDamaged(pointers(a))
	}
	if k.someLink != nil {
		t.Fatalf("compared %q, which the plugin is changing", k.someLink)
	}
	a.Ready = true
	k.linkErr = errors.New("no")
	if _, err := l.links.repairDamaged(pointers(a)); err == nil {
		t.Error("no error")
	}
	k.linkErr = nil
	for range 2 {
		if _, err := l.links.repairDamaged(pointers(a)); err != nil {
			t.Error(err)
		}
	}
	if len(k.someLink) != 2 {
		t.Errorf("compared %d times, want once with an error and once without", len(k.someLink))
	}
}

// TestUnrepairedLinks: a difference that cannot be repaired is logged once, and is dropped
// when the link has the desired state.
func TestUnrepairedLinks(t *testing.T) {
	a, b := record("a"), record("b")
	all := pointers(a, b)
	elsewhere := func(r store.Record) []veth.Difference {
		return []veth.Difference{
			{Identity: r.Identity(), Kind: veth.KindRoute, Reason: masq.Changed, Interface: r.HostName(), Object: "10.0.0.1/32", Have: "eth7", Want: r.HostName()},
			{Identity: r.Identity(), Kind: veth.KindInterface, Reason: masq.Missing},
		}
	}
	k := &fakeKernel{aliases: map[int]string{1: a.Identity(), 2: b.Identity()}, linkLeft: map[string][]veth.Difference{a.Identity(): elsewhere(a), b.Identity(): elsewhere(b)}}
	l, log := newLinkRepair(k)
	for range 2 {
		if _, err := l.links.repairAll(all); err != nil {
			t.Error(err)
		}
	}
	if left := l.UnrepairedLinks(); len(left) != 2 || strings.Count(log.String(), "level=WARN") != 2 {
		t.Errorf("left %v, log:\n%s", left, log)
	}
	k.linkLeft = nil
	l.LinksDamaged([]int{2})
	if _, err := l.links.repairDamaged(all); err != nil {
		t.Error(err)
	}
	if left := l.UnrepairedLinks(); len(left) != 1 || left[0].Identity != a.Identity() {
		t.Errorf("left %v", left)
	}
}
