package reconcile

import (
	"context"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestUntranslated(t *testing.T) {
	policy := masq.Default()
	policy.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	out := masq.Default()
	out.EgressDirect = true
	attachments := []masq.Attachment{
		{Key: masq.Key{Network: "n", ContainerID: "a", Interface: "eth0"}, Policy: &policy, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("fd00::5")}},
		{Key: masq.Key{Network: "n", ContainerID: "b", Interface: "eth0"}, Policy: &out, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.6")}},
		{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Addresses: []netip.Addr{netip.MustParseAddr("10.90.0.7")}},
	}
	nodes := masq.Default()
	nodes.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	sources := ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.88.0.0/24"), netip.MustParsePrefix("10.89.0.0/16")}, Policy: nodes}
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
		{"without a policy, and outside the sources", flow("10.90.0.7", "198.51.100.1", "198.51.100.1", 0), false},
		{"of a source", flow("10.89.3.4", "198.51.100.1", "198.51.100.1", 0), true},
		{"of a source, direct", flow("10.89.3.4", "10.1.1.1", "10.1.1.1", 0), false},
		{"of the node, whose address is among the sources", flow("10.89.0.1", "198.51.100.1", "198.51.100.1", 0), false},
	} {
		g := Flows{
			Local: func(a netip.Addr) (bool, error) {
				return a == netip.MustParseAddr("192.0.2.1") || a == netip.MustParseAddr("10.89.0.1"), nil
			},
			Delete: func(_ context.Context, x conntrack.Filter, match func(*conntrack.Flow) bool) (int, error) {
				if x.Match(&tt.flow) && match(&tt.flow) {
					return 1, nil
				}
				return 0, nil
			},
		}
		n, err := g.Untranslated(t.Context(), Whose{originsOf(attachments...), sources})
		if err != nil || (n == 1) != tt.gone {
			t.Errorf("%s: %d deleted, %v", tt.name, n, err)
		}
	}
}

func originsOf(all ...masq.Attachment) (out []Origin) {
	for _, a := range all {
		out = append(out, Origin{&store.Record{Attachment: a}, a.Policy})
	}
	return out
}

func TestStranded(t *testing.T) {
	policy := masq.Default()
	whose := Whose{
		Origins: originsOf(masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "a", Interface: "eth0"}, Policy: &policy, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5")}}),
		Sources: ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.89.0.0/16")}, Policy: policy},
	}
	node := netip.MustParseAddr("10.89.0.1")
	gone := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}
	for _, tt := range []struct {
		name, src, egress string
		status            conntrack.Status
		deleted           bool
	}{
		{"with the address that is gone", "10.88.0.5", "192.0.2.7", conntrack.SrcNAT, true},
		{"with one that is there", "10.88.0.5", "192.0.2.1", conntrack.SrcNAT, false},
		{"with one that came back", "10.88.0.5", "192.0.2.8", conntrack.SrcNAT, false},
		{"somebody else's", "10.77.0.5", "192.0.2.7", conntrack.SrcNAT, false},
		{"not translated", "10.88.0.5", "192.0.2.7", 0, false},
		{"of a source", "10.89.0.7", "192.0.2.7", conntrack.SrcNAT, true},
		{"a flow of the node, in the range of the sources", "10.89.0.1", "192.0.2.7", conntrack.SrcNAT, false},
	} {
		flow := conntrack.Flow{Status: tt.status}
		flow.Original.Src, flow.Reply.Dst = netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.egress)
		f := Flows{
			Local: func(a netip.Addr) (bool, error) { return a == gone[1] || a == node, nil },
			Delete: func(_ context.Context, x conntrack.Filter, match func(*conntrack.Flow) bool) (int, error) {
				if x.Match(&flow) && match(&flow) {
					return 1, nil
				}
				return 0, nil
			},
		}
		n, err := f.EgressRemoved(t.Context(), whose, gone)
		if err != nil || (n == 1) != tt.deleted {
			t.Errorf("%s: %d deleted, %v", tt.name, n, err)
		}
	}
}
