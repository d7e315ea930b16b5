package portpool

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

func TestReusesClosed(t *testing.T) {
	for release, want := range map[string]bool{
		"6.5.0": true, "6.5.0-rc1": true, "6.18.44-fc-v669": true, "7.0": true, "10.1.2": true,
		"6.4.16": false, "6.1.0-37-cloud-amd64": false, "5.14.0-503.el9": false, "4.18.0": false, "": false, "x.y": false,
	} {
		if got := reusesClosed(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

// TestClosedFlows: ports of closed flows that the kernel may reuse are free. Ports of other
// flows are in use, and so are all ports on a kernel that reuses none.
func TestClosedFlows(t *testing.T) {
	g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: remote[0], Port: 443}
	var flows []conntrack.Flow
	for i := range 10 {
		f := flowOf(netip.AddrPortFrom(addr("10.0.0.2"), uint16(3000+i)), g, uint16(20000+i))
		f.State = conntrack.TCPTimeWait
		switch i {
		case 0, 1:
			f.State = conntrack.TCPEstablished
		case 2:
			f.Status |= conntrack.FixedTimeout
		case 3:
			f.Status |= conntrack.Dying
		}
		flows = append(flows, f)
	}
	for _, tt := range []struct {
		reuses        bool
		used, closing int
	}{{true, 4, 6}, {false, 10, 6}} {
		c := newTestCounter(Options{Groups: 5, Holders: 2, ReusesClosed: tt.reuses})
		usages, unlisted, _ := count(t, c, pods(), flows)
		if len(usages) != 1 || usages[0].Used != tt.used || usages[0].Closing != tt.closing || unlisted != 0 {
			t.Errorf("reuses %t: %+v, others have at most %v", tt.reuses, usages, unlisted)
		}
		if h := usages[0].Holders; len(h) != 1 || h[0] != (Holder{addr("10.0.0.2"), tt.used}) {
			t.Errorf("reuses %t: holders %v", tt.reuses, h)
		}
	}
}

// TestClosedFlowsOfManyGroups: a group with only closed flows takes no room from other
// groups.
func TestClosedFlowsOfManyGroups(t *testing.T) {
	var flows []conntrack.Flow
	for i := range 5000 {
		g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 443}
		for k := range 3 {
			f := flowOf(netip.AddrPortFrom(addr("10.0.0.2"), uint16(3000+k)), g, uint16(20000+k))
			if i%1000 != 0 {
				f.State = conntrack.TCPTimeWait
			}
			flows = append(flows, f)
		}
	}
	c := newTestCounter(Options{Groups: 3, ReusesClosed: true})
	got, unlisted, _ := count(t, c, pods(), flows)
	checkUsages(t, got, modelReusing(flows, pods(), true), 3)
	if got[0].Used != 3 || got[2].Used != 3 || unlisted != 3./1000 {
		t.Errorf("%+v, others have at most %v", got, unlisted)
	}
	// After that one dump is enough.
	for range 3 {
		if got, _, dumps := count(t, c, pods(), flows); dumps != 1 || got[2].Used != 3 {
			t.Errorf("%d dumps: %+v", dumps, got)
		}
	}
}
