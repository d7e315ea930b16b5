package wire

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestDelete(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	before := [...]int{lab.node.links(), c.links()}
	mustAdd(t, lab.wire, p)
	for range 2 {
		if err := lab.wire.Delete(p.HostName, p.Identity); err != nil {
			t.Fatal(err)
		}
	}
	if after := [...]int{lab.node.links(), c.links()}; after != before {
		t.Errorf("there were %v links, there are %v", before, after)
	}
	for _, a := range p.Addresses {
		way, _, err := lab.wire.host.pathTo(a.Addr(), 0)
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
	mustAdd(t, lab.wire, p)
	c.must(c.LinkDel(c.link("eth0")))
	if err := lab.wire.Delete(p.HostName, p.Identity); err != nil {
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

func TestDeleteMany(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	var links []Owned
	for n := range 70 { // more than one batch
		p := pair(c, n+2, "4", "6")
		p.Interface = fmt.Sprintf("eth%d", n)
		for _, a := range p.Addresses {
			p.Routes = append(p.Routes, hostRouteOf(a))
		}
		mustAdd(t, lab.wire, p)
		links = append(links, Owned{p.HostName, p.Identity})
	}
	links = append(links, Owned{"vethabcdefabcde", "gone"}, Owned{"up0", "not ours"})
	kept := links[0]
	links = links[1:]
	if err := lab.wire.DeleteMany(links); !errors.Is(err, ErrNotOurs) {
		t.Errorf("up0 is not ours, and yet: %v", err)
	}
	if n := lab.node.links(); n != 3 { // lo, up0 and the one that is kept
		t.Errorf("%d links are left", n)
	}
	lab.node.link("up0")
	lab.node.link(kept.HostName)
	if err := lab.wire.DeleteMany(links[:len(links)-1]); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := lab.wire.DeleteMany(nil); err != nil {
		t.Error(err)
	}
}
