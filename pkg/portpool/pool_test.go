package portpool

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestPools(t *testing.T) {
	p := pods()
	server := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: remote[0], Port: 80}
	ping := Group{Protocol: unix.IPPROTO_ICMP, Egress: egress[0], Destination: remote[0], Port: 8 << 8}
	for _, tt := range []struct {
		from  string
		group Group
		want  string
		size  int
	}{
		{"10.0.0.3:0", server, "[1-511]", 511},
		{"10.0.0.3:511", server, "[1-511]", 511},
		{"10.0.0.3:512", server, "[600-1023]", 424},
		{"10.0.0.3:1023", server, "[600-1023]", 424},
		{"10.0.0.3:1024", server, "[1024-65535]", 64512},
		{"10.0.0.3:65535", server, "[1024-65535]", 64512},
		{"10.0.0.3:7", ping, "[0-65535]", 65536},
		{"10.0.0.1:5000", server, "[20000-20009 30000-30009]", 20},
		{"10.0.0.1:700", server, "[600-1023]", 424},
		{"10.0.0.1:5000", ping, "[0-65535]", 65536},
		{"10.0.0.2:5000", server, "[20000-20999]", 1000},
		{"10.9.0.9:5000", server, "[20000-20999]", 1000},   // in the prefix
		{"10.9.0.1:5000", server, "[1024-65535]", 64512},   // an attachment in the prefix
		{"172.16.0.1:5000", server, "[1024-65535]", 64512}, // neither
	} {
		f := flowOf(netip.MustParseAddrPort(tt.from), tt.group, 1)
		got := p.all[p.poolOf(&f)]
		if fmt.Sprint(got.ranges) != tt.want || got.size != tt.size {
			t.Errorf("%s, protocol %d: %v of %d, want %s of %d", tt.from, tt.group.Protocol, got.ranges, got.size, tt.want, tt.size)
		}
	}
}

// TestPoolsAreShared: attachments with equal ranges share a pool, and adjacent or overlapping
// ranges are one range.
func TestPoolsAreShared(t *testing.T) {
	var all []masq.Attachment
	for i := range 3000 {
		all = append(all, masq.Attachment{
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})},
			Policy:    &masq.Policy{ToPorts: []masq.PortRange{{First: 5010, Last: 5019}, {First: 5000, Last: 5012}, {First: 5020, Last: 65535}}},
		})
	}
	p := PoolsOf(all, nil, masq.Policy{})
	if got := p.all[firstRange:]; len(got) != 1 || fmt.Sprint(got[0].ranges) != "[5000-65535]" || got[0].size != 60536 {
		t.Errorf("%d pools, %v", len(got), got)
	}
}

// TestPoolOfSharedAddress: if two attachments have an address, the later one's pool counts.
// An address with the default pool takes no memory.
func TestPoolOfSharedAddress(t *testing.T) {
	plain, own := masq.Default(), masq.Policy{ToPorts: []masq.PortRange{{First: 20000, Last: 20009}}}
	first := masq.Attachment{Addresses: []netip.Addr{addr("10.0.0.1")}, Policy: &own}
	later := masq.Attachment{Addresses: first.Addresses, Policy: &plain}
	f := flowOf(netip.MustParseAddrPort("10.0.0.1:5000"), Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: remote[0], Port: 80}, 1)
	if p := PoolsOf([]masq.Attachment{first, later}, nil, plain); p.poolOf(&f) != poolAll || len(p.byAddr) != 0 {
		t.Errorf("%v, %d addresses in memory", p.all[p.poolOf(&f)], len(p.byAddr))
	}
	if p := PoolsOf([]masq.Attachment{later, first}, nil, plain); p.poolOf(&f) != firstRange {
		t.Errorf("%v", p.all[p.poolOf(&f)])
	}
}
