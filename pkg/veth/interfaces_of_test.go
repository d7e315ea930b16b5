package veth

import (
	"maps"
	"net/netip"
	"testing"
)

func TestInterfacesOf(t *testing.T) {
	lab := newLab(t)
	all, err := lab.conn.host.addresses(0)
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	foreign := netip.MustParseAddr("203.0.113.77")
	loopback := netip.MustParseAddr("127.0.0.1")
	got, err := lab.conn.InterfacesOf(loopback, foreign)
	if err != nil || !maps.Equal(got, map[netip.Addr]string{loopback: "lo"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := lab.conn.InterfacesOf(foreign); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
