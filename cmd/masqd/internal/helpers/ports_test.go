package helpers

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

var egress = netip.MustParseAddr("192.0.2.1")

// TestReservePorts reserves all ports of the ranges, each once: an even one first if there
// are two, none below 1024, none that is in use.
func TestReservePorts(t *testing.T) {
	free := []masq.PortRange{{First: 1000, Last: 1030}, {First: 2001, Last: 2006}}
	inUse := map[uint16]bool{1026: true, 2005: true}
	for _, tt := range []struct {
		n     int
		first map[uint16]bool
	}{
		{2, map[uint16]bool{1024: true, 1028: true, 2002: true}},
		{1, map[uint16]bool{1024: true, 1025: true, 1027: true, 1028: true, 1029: true, 1030: true, 2001: true, 2002: true, 2003: true, 2004: true, 2006: true}},
	} {
		var p ports
		got := map[uint16]bool{}
		for {
			first, err := p.reserve(unix.IPPROTO_UDP, egress, tt.n, free, inUse)
			if errors.Is(err, errNoPort) {
				break
			}
			if err != nil || got[first] || !tt.first[first] {
				t.Fatalf("%d ports: %d after %v, %v", tt.n, first, got, err)
			}
			got[first] = true
		}
		if len(got) != len(tt.first) {
			t.Errorf("%d ports: %v, want %v", tt.n, got, tt.first)
		}
		// Another protocol and another address have their own ports.
		for _, other := range []heldPort{{unix.IPPROTO_TCP, egress, 0}, {unix.IPPROTO_UDP, netip.MustParseAddr("192.0.2.2"), 0}} {
			if _, err := p.reserve(other.proto, other.egress, tt.n, free, inUse); err != nil {
				t.Errorf("%v: %v", other, err)
			}
		}
		p.release(unix.IPPROTO_UDP, egress, 1028, tt.n)
		if first, err := p.reserve(unix.IPPROTO_UDP, egress, tt.n, free, inUse); first != 1028 {
			t.Errorf("after a release: %d, %v", first, err)
		}
	}
	var p ports
	if _, err := p.reserve(unix.IPPROTO_UDP, egress, 2, nil, nil); !errors.Is(err, errNoPort) {
		t.Errorf("without a range: %v", err)
	}
}
