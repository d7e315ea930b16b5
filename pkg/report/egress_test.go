package report

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestMissingEgressOfUnusedFamily: if no egress address of a family is present, its flows are
// dropped. That is an error only if an attachment has an address of the family.
func TestMissingEgressOfUnusedFamily(t *testing.T) {
	p := masq.Default()
	p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	lacksIPv6 := func(a netip.Addr) (bool, error) { return a.Is4(), nil }
	for _, c := range []struct {
		addresses []string
		dropped   []string
		severity  Severity
		message   string
	}{
		{[]string{"10.88.0.2"}, []string{}, SeverityWarning, "no attachment of the policy uses IPv6"},
		{[]string{"10.88.0.2", "fd00::2"}, []string{"6"}, SeverityError, "IPv6 flows are dropped"},
	} {
		n := Node{}
		n.Policies = DesiredOf([]store.Record{record("aaaa", "shop", "web", &p, c.addresses...)}, nil, lacksIPv6).Policies()
		n.evaluateEgress()
		if got := n.Policies[0].Dropped; !slices.Equal(got, c.dropped) {
			t.Errorf("addresses %v: flows of the families %v are dropped, want %v", c.addresses, got, c.dropped)
		}
		if len(n.Problems) != 1 || n.Problems[0].Severity != c.severity || !strings.Contains(n.Problems[0].Message, c.message) {
			t.Errorf("addresses %v: problems are %+v", c.addresses, n.Problems)
		}
	}
}
