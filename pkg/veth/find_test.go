package veth

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// A link that was renamed is found by its index, and by its alias where that is all that
// is known.
func TestDeleteRenamed(t *testing.T) {
	lab := newLab(t)
	for i, byIndex := range []bool{true, false} {
		p := pair(newSpace(t), i, "4")
		l := mustAdd(t, lab.conn, p)
		before := lab.node.links()
		lab.node.must(lab.node.LinkSetName(lab.node.link(p.HostName), "lan7"))
		gone := masq.HostLink{Name: p.HostName, Alias: p.Identity}
		if byIndex {
			gone.Index = l.HostIndex
		}
		for want := range 2 { // the second finds none
			name, err := lab.conn.Find(gone)
			if err != nil || (name == "lan7") != (want == 0) {
				t.Errorf("found %q, %v", name, err)
			}
			if err := lab.conn.Delete(gone); err != nil {
				t.Error(err)
			}
		}
		if n := lab.node.links(); n != before-1 {
			t.Errorf("of %d links there are %d", before, n)
		}
	}
}

// Another's link that took the name stays, and does not hide ours.
func TestDeleteRenamedWithItsNameTaken(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 1, "4")
	l := mustAdd(t, lab.conn, p)
	lab.node.must(lab.node.LinkSetName(lab.node.link(p.HostName), "lan7"))
	lab.node.must(lab.node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.HostName}, PeerName: "other"}))
	gone := masq.HostLink{Index: l.HostIndex, Name: p.HostName, Alias: p.Identity}
	if err := lab.conn.Delete(gone); err != nil {
		t.Error(err)
	}
	if _, err := lab.node.LinkByName("lan7"); err == nil {
		t.Error("ours is there")
	}
	if err := lab.conn.Delete(gone); !errors.Is(err, ErrAliasMismatch) {
		t.Errorf("%v", err)
	}
	lab.node.link(p.HostName)
}

// Repair restores the name of a renamed link, and does not change other links.
func TestRepairRestoresNames(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 1, "4", "6")
	l := mustAdd(t, lab.conn, p)
	p.HostMAC = l.HostMAC
	for _, all := range []bool{true, false} {
		lab.node.must(lab.node.LinkSetName(lab.node.link(p.HostName), "lan7"))
		var repaired, left []Difference
		var err error
		if all {
			repaired, left, err = lab.conn.Repair([]Pair{p})
		} else {
			repaired, left, err = lab.conn.RepairIndexes([]int{l.HostIndex}, func(_ int, identity string) (Pair, bool) { return p, identity == p.Identity })
		}
		if err != nil || len(left) > 0 || len(repaired) == 0 {
			t.Errorf("repaired %v, not repaired: %v, %v", repaired, left, err)
		}
		if found, err := lab.conn.Compare([]Pair{p}); err != nil || len(found) > 0 {
			t.Errorf("%v, %v", found, err)
		}
	}
}
