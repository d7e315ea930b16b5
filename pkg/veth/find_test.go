package veth

import (
	"errors"
	"strings"
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

// Delete finds a renamed link although another program made a link with its name, and keeps
// that link.
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
		t.Error("the renamed link still exists")
	}
	if err := lab.conn.Delete(gone); !errors.Is(err, ErrAliasMismatch) {
		t.Errorf("%v", err)
	}
	lab.node.link(p.HostName)
}

// An interface that has the name only as an alternative name is not accepted by name, and the
// error says so. Find finds it by its index.
func TestAlternativeName(t *testing.T) {
	lab := newLab(t)
	p := pair(newSpace(t), 1, "4")
	l := mustAdd(t, lab.conn, p)
	lab.node.must(lab.node.LinkSetName(lab.node.link(p.HostName), "lan7"))
	lab.node.must(lab.node.LinkAddAltName(lab.node.link("lan7"), p.HostName))
	err := lab.conn.RestoreRoutes(p.HostName, p.Identity, nil)
	if want := "interface lan7 has the name " + p.HostName + " as an alternative name only"; !errors.Is(err, ErrAliasMismatch) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if name, err := lab.conn.Find(masq.HostLink{Index: l.HostIndex, Name: p.HostName, Alias: p.Identity}); name != "lan7" || err != nil {
		t.Errorf("found %q, %v", name, err)
	}
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
