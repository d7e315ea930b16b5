package cniconf

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestClamp(t *testing.T) {
	const remedy = `; give "pmtu", "off" or 48-65495`
	checkFaults(t, []faulty{
		{"word", `"mssClamp": "auto"`, `mssClamp: "auto" is neither "pmtu" nor "off"` + remedy},
		{"digits", `"mssClamp": "1200"`, `mssClamp: "1200" is neither "pmtu" nor "off"` + remedy},
		{"small", `"mssClamp": 47`, `mssClamp: 47 is not a number of bytes within 48-65495` + remedy},
		{"large", `"mssClamp": 65496`, `mssClamp: 65496 is not a number of bytes within 48-65495` + remedy},
		{"fraction", `"mssClamp": 1200.5`, `mssClamp: 1200.5 is not a number of bytes within 48-65495` + remedy},
		{"huge", `"mssClamp": 1e300`, `mssClamp: 1e300 is not a number of bytes within 48-65495` + remedy},
		{"null", `"mssClamp": null`, `mssClamp: null is not allowed here` + remedy},
		{"boolean", `"mssClamp": false`, `mssClamp: false is a boolean` + remedy},
	})
	for text, want := range map[string]string{`"pmtu"`: "pmtu", `"off"`: "off", `48`: "48", `65495`: "65495", `1200.0`: "1200", `1.2e3`: "1200"} {
		if got := load(t, `"mssClamp": `+text).Policy.MSSClamp.String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestPolicyForSubnets(t *testing.T) {
	const hostLocal = `"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]]}`
	for _, tt := range []struct {
		name, members   string
		addresses, want []netip.Prefix
	}{
		{"of the IPAM", hostLocal, nil, prefixes("10.88.0.0/16", "fd00:88::/64")},
		{"of the addresses", "", prefixes("fd00::5/64", "10.1.2.3/24"), prefixes("10.1.2.0/24", "fd00::/64")},
		{"of both", hostLocal, prefixes("10.88.0.7/16", "10.1.2.3/24"), prefixes("10.1.2.0/24", "10.88.0.0/16", "fd00:88::/64")},
		{"of none", "", prefixes("10.1.2.3/32", "fd00::5/128"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, tt.members)
			before := c.Policy.ID()
			p, err := c.PolicyFor(tt.addresses)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(p.Subnets, tt.want) {
				t.Errorf("got %v, want %v", p.Subnets, tt.want)
			}
			if c.Policy.ID() != before {
				t.Error("the configuration's policy changed")
			}
			if len(tt.want) > 0 && !p.DirectRanges(masq.FamilyOf(tt.want[0].Addr())).Contains(tt.want[0].Addr()) {
				t.Errorf("%v is not direct", tt.want[0])
			}
		})
	}
}

func TestPolicyForLinkAlone(t *testing.T) {
	c := load(t, `"ipMasq": false, "snatAddresses": ["192.0.2.1"]`)
	if p, err := c.PolicyFor(nil); p != nil || err != nil {
		t.Errorf("got %v, %v, want no policy", p, err)
	}
}

func TestPolicyForFaults(t *testing.T) {
	c := load(t, `"snatAddresses": ["192.0.2.1", "2001:db8::1"]`)
	if _, err := c.PolicyFor(prefixes("10.1.2.3/24", "fd00::5/64")); err != nil {
		t.Error(err)
	}
	_, err := c.PolicyFor(append(prefixes("10.1.2.3/24", "10.1.2.4/0", "::ffff:10.1.2.3/120"), netip.Prefix{}))
	wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "net": 4 faults`,
		`addresses: "10.1.2.4/0" makes every destination one of the network's own; correct the configuration of the plugin that assigns the addresses
addresses: "::ffff:10.1.2.3/120" is not an address with its prefix length; correct the configuration of the plugin that assigns the addresses
addresses: "invalid Prefix" is not an address with its prefix length; correct the configuration of the plugin that assigns the addresses
snatAddresses: "2001:db8::1" cannot be used: the attachment has no IPv6 address; remove it, or give the network an IPv6 subnet`)
}
