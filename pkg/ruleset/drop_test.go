package ruleset

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestDropReasons: each rule that drops packets has a reason and a counter, no other rule
// has a reason, and each reason has a rule.
func TestDropReasons(t *testing.T) {
	p := change(func(p *masq.Policy) {
		p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		p.ToPorts = []masq.PortRange{{First: 20000, Last: 20000}}
		p.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
	})
	sources := Sources{Prefixes: prefixes("10.244.0.0/16", "fd00:244::/56"), Policy: p}
	seen := map[DropReason]bool{}
	for _, c := range For([]masq.Attachment{attachment("a", p, "10.88.0.5")}, sources, Egress{Addresses: map[netip.Addr]bool{p.SNATAddresses[0]: true}, Reserved: p.ToPorts}).Chains {
		for _, r := range c.Rules {
			reason, ok := DropReasonOf(c.Name, r.ID)
			if drops := strings.HasSuffix(r.Text, "counter drop"); drops != ok || strings.Contains(r.Text, "drop") != drops {
				t.Errorf("%s %s: %q has reason %q", c.Name, r.ID, r.Text, reason)
			}
			seen[reason] = true
		}
	}
	for _, reason := range DropReasons {
		if !seen[reason] {
			t.Errorf("no rule drops for %q", reason)
		}
	}
	if _, ok := DropReasonOf("theirs", spoofedID); ok || slices.Contains(DropReasons, "") {
		t.Error("a rule of another chain has a reason")
	}
}
