package veth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestDelete(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	before := [...]int{lab.node.links(), c.links()}
	mustAdd(t, lab.conn, p)
	for range 2 {
		if err := lab.conn.Delete(p.HostName, p.Identity); err != nil {
			t.Fatal(err)
		}
	}
	if after := [...]int{lab.node.links(), c.links()}; after != before {
		t.Errorf("there were %v links, there are %v", before, after)
	}
	for _, a := range p.Addresses {
		way, _, err := lab.conn.host.pathTo(a.Addr(), 0)
		if err != nil || way.index != lab.node.link("up0").Attrs().Index {
			t.Errorf("the route to %s is still there: %+v, %v", a, way, err)
		}
	}
}

// The container's end goes with its namespace, and takes the host's along.
func TestDeleteAfterTheNamespace(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	c.must(c.LinkDel(c.link("eth0")))
	if err := lab.conn.Delete(p.HostName, p.Identity); err != nil {
		t.Fatal(err)
	}
}

func TestDeleteRefusesWhatIsNotOurs(t *testing.T) {
	node := newSpace(t)
	w := node.open()
	node.must(node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth00000000005"}, PeerName: "other"}))
	for _, alias := range []string{"", "net/container6/eth0"} {
		node.must(node.LinkSetAlias(node.link("veth00000000005"), alias))
		if err := w.Delete("veth00000000005", "net/container5/eth0"); !errors.Is(err, ErrNotOurs) {
			t.Errorf("alias %q: %v", alias, err)
		}
	}
	node.link("veth00000000005")
}

// Owned names our links, and no others.
func TestOwned(t *testing.T) {
	lab := newLab(t)
	var want []Owned
	for i := range 3 {
		p := pair(newSpace(t), i, "4")
		p.CheckSources = i == 0
		mustAdd(t, lab.conn, p)
		want = append(want, Owned{p.HostName, p.Identity})
	}
	got, err := lab.conn.Owned()
	slices.SortFunc(got, func(a, b Owned) int { return strings.Compare(a.HostName, b.HostName) })
	slices.SortFunc(want, func(a, b Owned) int { return strings.Compare(a.HostName, b.HostName) })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; not %v", got, err, want)
	}
}
