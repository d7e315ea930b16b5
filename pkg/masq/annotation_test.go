package masq

import (
	"net/netip"
	"testing"
)

func TestParseAnnotation(t *testing.T) {
	for in, want := range map[string]string{
		"masq-cni.dev/egress": EgressAnnotation, "egress": EgressAnnotation,
		"masq-cni.dev/snat-addresses": SNATAnnotation, "snat-addresses": SNATAnnotation,
		"": "", "masq-cni.dev/": "", "Egress": "", "example.com/egress": "", "masq-cni.dev/masq-cni.dev/egress": "",
	} {
		if got, bad := ParseAnnotation(in); got != want || (bad == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", in, got, bad, want)
		}
	}
}

// A pod may opt out unless the list, or without one an egress address, says otherwise.
func TestAllows(t *testing.T) {
	egress := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for _, c := range []struct {
		name         string
		list         []string
		addresses    []netip.Addr
		direct, snat bool
	}{
		{"no list", nil, nil, true, true},
		{"no list, egress addresses", nil, egress, false, true},
		{"empty list", []string{}, nil, false, false},
		{"one", []string{EgressAnnotation}, egress, true, false},
		{"the other", []string{SNATAnnotation}, nil, false, true},
		{"both", Annotations, egress, true, true},
	} {
		p := Policy{AllowAnnotations: c.list, SNATAddresses: c.addresses}
		if d, s := p.Allows(EgressAnnotation), p.Allows(SNATAnnotation); d != c.direct || s != c.snat {
			t.Errorf("%s: egress %v, snat-addresses %v", c.name, d, s)
		}
	}
}

// The node's policy decides about attachments that have it, whenever it changes. The
// network's own list overrides the node's.
func TestNodePolicyAllowsEgress(t *testing.T) {
	egress := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for _, c := range []struct {
		name           string
		node, network  []string
		addresses      []netip.Addr
		direct, wanted bool
	}{
		{"default", nil, nil, nil, true, true},
		{"default, egress addresses", nil, nil, egress, true, false},
		{"the node forbids", []string{}, nil, nil, true, false},
		{"the node allows", []string{EgressAnnotation}, nil, egress, true, true},
		{"the network allows", []string{}, []string{EgressAnnotation}, egress, true, true},
		{"the network forbids", []string{EgressAnnotation}, []string{}, nil, true, false},
		{"not asked", []string{EgressAnnotation}, nil, nil, false, false},
	} {
		old := Policy{Node: true, EgressDirect: c.direct, AllowAnnotations: c.network}
		got := Policy{AllowAnnotations: c.node, SNATAddresses: c.addresses}.For(old)
		if got.EgressDirect != c.wanted {
			t.Errorf("%s: direct %v", c.name, got.EgressDirect)
		}
		if (got.AllowAnnotations == nil) != (c.network == nil) {
			t.Errorf("%s: the list is %v, not the network's", c.name, got.AllowAnnotations)
		}
		if again := (Policy{AllowAnnotations: c.node, SNATAddresses: c.addresses}).For(got); again.EgressDirect != got.EgressDirect {
			t.Errorf("%s: twice is not as once", c.name)
		}
	}
}
