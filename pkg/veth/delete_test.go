package veth

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestDelete(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	before := [...]int{lab.node.links(), c.links()}
	mustAdd(t, lab.conn, p)
	for range 2 {
		if err := lab.conn.Delete(p.hostLink()); err != nil {
			t.Fatal(err)
		}
	}
	if after := [...]int{lab.node.links(), c.links()}; after != before {
		t.Errorf("%v links before, %v after", before, after)
	}
	for _, a := range p.Addresses {
		way, _, err := lab.conn.host.lookUpPath(a.Addr(), 0)
		if err != nil || way.index != lab.node.link("up0").Attrs().Index {
			t.Errorf("the route to %s still exists: %+v, %v", a, way, err)
		}
	}
}

// When a namespace is removed, the kernel deletes both ends of its links.
func TestDeleteAfterTheNamespace(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	mustAdd(t, lab.conn, p)
	c.must(c.LinkDel(c.link("eth0")))
	if err := lab.conn.Delete(p.hostLink()); err != nil {
		t.Fatal(err)
	}
}

func TestDeleteAliasMismatch(t *testing.T) {
	node := newSpace(t)
	w := node.open()
	node.must(node.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth00000000005"}, PeerName: "other"}))
	for _, alias := range []string{"", "net/container6/eth0"} {
		node.must(node.LinkSetAlias(node.link("veth00000000005"), alias))
		if err := w.Delete(masq.HostLink{Name: "veth00000000005", Alias: "net/container5/eth0"}); !errors.Is(err, ErrAliasMismatch) {
			t.Errorf("alias %q: %v", alias, err)
		}
	}
	node.link("veth00000000005")
}

// ManagedLinks returns the links of the plugin only.
func TestManagedLinks(t *testing.T) {
	lab := newLab(t)
	var want []masq.HostLink
	for i := range 3 {
		p := pair(newSpace(t), i, "4")
		p.CheckSources = i == 0
		host := p.hostLink()
		host.Index = mustAdd(t, lab.conn, p).HostIndex
		want = append(want, host)
	}
	got, err := lab.conn.ManagedLinks()
	slices.SortFunc(got, func(a, b masq.HostLink) int { return a.Index - b.Index })
	slices.SortFunc(want, func(a, b masq.HostLink) int { return a.Index - b.Index })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
