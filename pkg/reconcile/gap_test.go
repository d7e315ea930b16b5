package reconcile

import (
	"context"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestGap(t *testing.T) {
	policy := masq.Default()
	policy.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	out := masq.Default()
	out.EgressDirect = true
	attachments := []masq.Attachment{
		{Key: masq.Key{Network: "n", ContainerID: "a", Interface: "eth0"}, Policy: &policy, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("fd00::5")}},
		{Key: masq.Key{Network: "n", ContainerID: "b", Interface: "eth0"}, Policy: &out, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.6")}},
		{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.7")}},
	}
	flow := func(src, dst, reached string, s conntrack.Status) conntrack.Flow {
		f := conntrack.Flow{Status: s}
		f.Original.Src, f.Original.Dst = netip.MustParseAddr(src), netip.MustParseAddr(dst)
		f.Reply.Src = netip.MustParseAddr(reached)
		return f
	}
	for _, tt := range []struct {
		name string
		flow conntrack.Flow
		gone bool
	}{
		{"begun in the gap", flow("10.88.0.5", "198.51.100.1", "198.51.100.1", 0), true},
		{"begun in the gap, IPv6", flow("fd00::5", "2001:db8::1", "2001:db8::1", 0), true},
		{"translated", flow("10.88.0.5", "198.51.100.1", "198.51.100.1", conntrack.SrcNAT), false},
		{"direct", flow("10.88.0.5", "10.1.1.1", "10.1.1.1", 0), false},
		{"to a service that is direct", flow("10.88.0.5", "198.51.100.1", "10.1.1.1", 0), false},
		{"to a service that is not", flow("10.88.0.5", "10.96.0.1", "198.51.100.1", 0), true},
		{"to the node", flow("10.88.0.5", "192.0.2.1", "192.0.2.1", 0), false},
		{"from outside", flow("198.51.100.1", "10.88.0.5", "10.88.0.5", 0), false},
		{"opted out", flow("10.88.0.6", "198.51.100.1", "198.51.100.1", 0), false},
		{"without a policy", flow("10.88.0.7", "198.51.100.1", "198.51.100.1", 0), false},
	} {
		g := Gap{
			Local: func(a netip.Addr) (bool, error) { return a == netip.MustParseAddr("192.0.2.1"), nil },
			Delete: func(_ context.Context, x conntrack.Filter, match func(*conntrack.Flow) bool) (int, error) {
				if x.Match(&tt.flow) && match(&tt.flow) {
					return 1, nil
				}
				return 0, nil
			},
		}
		n, err := g.Forget(t.Context(), attachments)
		if err != nil || (n == 1) != tt.gone {
			t.Errorf("%s: %d deleted, %v", tt.name, n, err)
		}
	}
}
