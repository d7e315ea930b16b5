package veth

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestInterior: the state of an interface, its default routes and their gateways are read.
func TestInterior(t *testing.T) {
	s := newSpace(t)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1400}, PeerName: "far"}
	if err := s.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	s.up("eth0")
	s.up("far")
	link, err := s.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	index := link.Attrs().Index
	read := func(want Interior) {
		t.Helper()
		var got Interior
		s.do(func() (err error) {
			got, err = ReadInterior("eth0", masq.IPv4)
			return err
		})
		for i := range got.Defaults {
			n := &got.Defaults[i].Neighbor
			n.Unused, n.Unchanged = 0, 0
		}
		if want.Peer = link.Attrs().ParentIndex; got.Index != want.Index || got.MTU != want.MTU || got.Up != want.Up || got.Peer != want.Peer || !slices.Equal(got.Defaults, want.Defaults) || !slices.Equal(got.ByGateway, want.ByGateway) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	s.do(func() error {
		c, err := Open()
		if err != nil {
			return err
		}
		defer c.Close()
		if got, err := c.MTUs([]int{index, 99999}); err != nil || len(got) != 1 || got[index] != 1400 {
			t.Errorf("MTU of interface %d: %v, %v", index, got, err)
		}
		return nil
	})
	want := Interior{Index: index, MTU: 1400, Up: true, Defaults: []RouteOut{{Family: masq.IPv4}}}
	read(want)

	if err := s.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet([]byte{10, 0, 0, 2})}); err != nil {
		t.Fatal(err)
	}
	gateway := netip.MustParseAddr("10.0.0.1")
	add := func(dst string, mtu int) {
		t.Helper()
		_, to, err := net.ParseCIDR(dst)
		if err == nil {
			err = s.RouteAdd(&netlink.Route{LinkIndex: index, Dst: to, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK), MTU: mtu})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("172.16.0.0/12", 0)
	want.ByGateway = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")}
	read(want)

	add("0.0.0.0/0", 1300)
	want.ByGateway = nil
	want.Defaults[0] = RouteOut{Family: masq.IPv4, Found: true, Index: index, MTU: 1300, Gateway: gateway}
	read(want)

	if err := s.NeighAdd(&netlink.Neigh{LinkIndex: index, State: unix.NUD_FAILED, IP: gateway.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	want.Defaults[0].Neighbor.State = unix.NUD_FAILED
	read(want)

	if err := s.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	s.do(func() error {
		got, err := ReadInterior("eth0", masq.IPv4)
		if got.Index != 0 || got.Defaults[0].Found {
			t.Errorf("without the interface: %+v", got)
		}
		return err
	})
}
