package reconcile

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func originOf(id string, p *masq.Policy, addresses ...string) origin {
	r := &store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: id, Interface: "eth0"}, Policy: p}}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
	}
	return origin{r, p}
}

// TestDeleteUntranslated deletes the flows of attachments and sources to destinations that
// are not direct, unless they are translated.
func TestDeleteUntranslated(t *testing.T) {
	policy, optedOut := masq.Default(), masq.Default()
	policy.NonMasquerade = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	optedOut.EgressDirect = true
	scope := flowScope{
		origins: []origin{originOf("a", &policy, "10.88.0.5", "fd00::5"), originOf("b", &optedOut, "10.88.0.6"), originOf("c", nil, "10.90.0.7")},
		sources: ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.88.0.0/24"), netip.MustParsePrefix("10.89.0.0/16"), netip.MustParsePrefix("192.0.2.8/32")}, Policy: policy},
	}
	for _, tt := range []struct {
		name, src, dst, final string
		status                conntrack.Status
		deleted               int
	}{
		{"untranslated", "10.88.0.5", "198.51.100.1", "198.51.100.1", 0, 1},
		{"untranslated, IPv6", "fd00::5", "2001:db8:1::1", "2001:db8:1::1", 0, 1},
		{"translated", "10.88.0.5", "198.51.100.1", "198.51.100.1", conntrack.SrcNAT, 0},
		{"to a direct destination", "10.88.0.5", "10.1.1.1", "10.1.1.1", 0, 0},
		{"to a service whose endpoint is direct", "10.88.0.5", "198.51.100.1", "10.1.1.1", 0, 0},
		{"to a service whose endpoint is not", "10.88.0.5", "10.96.0.1", "198.51.100.1", 0, 1},
		{"redirected to a helper of masqd", "10.88.0.5", "198.51.100.1", "192.0.2.1", 0, 0},
		{"to the node", "10.88.0.5", "192.0.2.1", "192.0.2.1", 0, 0},
		{"from outside", "198.51.100.1", "10.88.0.5", "10.88.0.5", 0, 0},
		{"from a pod that opted out", "10.88.0.6", "198.51.100.1", "198.51.100.1", 0, 0},
		{"without a policy, outside the sources", "10.90.0.7", "198.51.100.1", "198.51.100.1", 0, 0},
		{"from a source", "10.89.3.4", "198.51.100.1", "198.51.100.1", 0, 1},
		{"from a source to a direct destination", "10.89.3.4", "10.1.1.1", "10.1.1.1", 0, 0},
		{"from the node, whose address is a source", "192.0.2.8", "198.51.100.1", "198.51.100.1", 0, 0},
	} {
		f := conntrack.Flow{Status: tt.status}
		f.Original.Src, f.Original.Dst = netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
		f.Reply.Src = netip.MustParseAddr(tt.final)
		l := newLoop(t, &fakeKernel{flows: []conntrack.Flow{f}})
		if n, err := l.deleteUntranslated(t.Context(), scope); err != nil || n != tt.deleted {
			t.Errorf("%s: %d deleted, %v", tt.name, n, err)
		}
	}
}

// TestDeleteEgressRemoved deletes translated flows with a removed address, unless the node
// has the address again.
func TestDeleteEgressRemoved(t *testing.T) {
	policy := masq.Default()
	scope := flowScope{
		origins: []origin{originOf("a", &policy, "10.88.0.5")},
		sources: ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.89.0.0/16"), netip.MustParsePrefix("192.0.2.9/32")}, Policy: policy},
	}
	missing, present := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	for _, tt := range []struct {
		name, src, egress string
		status            conntrack.Status
		deleted           int
	}{
		{"with the removed address", "10.88.0.5", "192.0.2.7", conntrack.SrcNAT, 1},
		{"with another address", "10.88.0.5", "192.0.2.1", conntrack.SrcNAT, 0},
		{"with an address that is present again", "10.88.0.5", "192.0.2.8", conntrack.SrcNAT, 0},
		{"from another source", "10.77.0.5", "192.0.2.7", conntrack.SrcNAT, 0},
		{"not translated", "10.88.0.5", "192.0.2.7", 0, 0},
		{"from a source", "10.89.0.7", "192.0.2.7", conntrack.SrcNAT, 1},
		{"from the node, whose address is a source", "192.0.2.9", "192.0.2.7", conntrack.SrcNAT, 0},
	} {
		f := conntrack.Flow{Status: tt.status}
		f.Original.Src, f.Reply.Dst = netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.egress)
		l := newLoop(t, &fakeKernel{flows: []conntrack.Flow{f}, lacks: []netip.Addr{missing}})
		if n, err := l.deleteEgressRemoved(t.Context(), scope, []netip.Addr{missing, present}); err != nil || n != tt.deleted {
			t.Errorf("%s: %d deleted, %v", tt.name, n, err)
		}
	}
}
