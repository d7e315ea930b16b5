package ruleset

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestMissingEgressOfFamiliesInUse: a missing egress address counts as dropping flows only
// if an attachment or a sourceCIDR of the policy has an address of its family.
func TestMissingEgressOfFamiliesInUse(t *testing.T) {
	p := &masq.Policy{SNATAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}}
	other := &masq.Policy{SNATAddresses: p.SNATAddresses, Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}}
	of := func(p *masq.Policy, addresses ...string) masq.Attachment {
		a := masq.Attachment{Policy: p}
		for _, s := range addresses {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(s))
		}
		return a
	}
	sources := func(prefixes ...string) Sources {
		s := Sources{Policy: *p}
		for _, x := range prefixes {
			s.Prefixes = append(s.Prefixes, netip.MustParsePrefix(x))
		}
		return s
	}
	four, six := []masq.Family{masq.IPv4}, []masq.Family{masq.IPv6}
	for name, c := range map[string]struct {
		attachments []masq.Attachment
		sources     Sources
		want        []masq.Family
	}{
		"IPv4 attachments":                  {[]masq.Attachment{of(p, "10.88.0.2")}, sources(), four},
		"IPv6 attachments":                  {[]masq.Attachment{of(p, "fd00::2")}, sources(), six},
		"dual stack":                        {[]masq.Attachment{of(p, "10.88.0.2", "fd00::2")}, sources(), masq.Families[:]},
		"one of each":                       {[]masq.Attachment{of(p, "10.88.0.2"), of(p, "fd00::2")}, sources(), masq.Families[:]},
		"IPv6 of another policy":            {[]masq.Attachment{of(p, "10.88.0.2"), of(other, "fd00::2")}, sources(), four},
		"IPv6 without a policy":             {[]masq.Attachment{of(p, "10.88.0.2"), of(nil, "fd00::2")}, sources(), four},
		"IPv6 sourceCIDRs":                  {nil, sources("fd00:1::/64"), six},
		"IPv4 attachments and IPv6 sources": {[]masq.Attachment{of(p, "10.88.0.2")}, sources("fd00:1::/64"), masq.Families[:]},
	} {
		var got []masq.Family
		for _, m := range (Egress{}).Missing(*p, FamiliesOf(c.attachments, c.sources)[p.ID()]) {
			if m.Dropped {
				got = append(got, masq.FamilyOf(m.Address))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: flows of %v count as dropped, not of %v", name, got, c.want)
		}
	}
}
