package cniconf

import (
	"fmt"
	"strings"
	"testing"
)

func TestSNATAddresses(t *testing.T) {
	const such = `; give an address that the node is reached at, such as "192.0.2.1"`
	in := func(list string) string { return `"snatAddresses": ` + list }
	checkFaults(t, []faulty{
		{"prefix", in(`["192.0.2.1/32"]`), `snatAddresses: "192.0.2.1/32" is not an address: it has a prefix length; give addresses without prefix lengths`},
		{"none", in(`["eth0"]`), `snatAddresses: "eth0" is not an address` + such},
		{"zone", in(`["fe80::1%eth0"]`), `snatAddresses: "fe80::1%eth0" has a zone` + such},
		{"unspecified", in(`["0.0.0.0"]`), `snatAddresses: "0.0.0.0" is the unspecified address` + such},
		{"unspecified v6", in(`["::"]`), `snatAddresses: "::" is the unspecified address` + such},
		{"loopback", in(`["127.1.2.3"]`), `snatAddresses: "127.1.2.3" is a loopback address` + such},
		{"multicast", in(`["ff02::1"]`), `snatAddresses: "ff02::1" is a multicast address` + such},
		{"link-local", in(`["169.254.1.1"]`), `snatAddresses: "169.254.1.1" is a link-local address` + such},
		{"link-local v6", in(`["fe80::1"]`), `snatAddresses: "fe80::1" is a link-local address` + such},
		{"broadcast", in(`["255.255.255.255"]`), `snatAddresses: "255.255.255.255" is the broadcast address` + such},
		{"mapped", in(`["::ffff:192.0.2.1"]`), `snatAddresses: "::ffff:192.0.2.1" is IPv4 mapped into IPv6; write "192.0.2.1"`},
		{"twice", in(`["2001:db8::1", "2001:db8:0::1"]`), `snatAddresses: "2001:db8:0::1" is given twice; keep one of them`},
		{"element", in(`[null]`), `snatAddresses: null is not allowed here; give a list of addresses such as ["192.0.2.1"]`},
		{"type", in(`"192.0.2.1"`), `snatAddresses: "192.0.2.1" is a string; give a list of addresses such as ["192.0.2.1"]`},
	})
}

// A routed address must be an egress address.
func TestSNATAddressesRouted(t *testing.T) {
	const listed = `"snatAddresses": ["192.0.2.1", "192.0.2.2", "2001:db8::1"], `
	c := load(t, listed+`"snatAddressesRouted": ["2001:db8::1", "192.0.2.2"]`)
	if got := fmt.Sprint(c.Policy.SNATRouted); got != "[2001:db8::1 192.0.2.2]" || !c.PolicyNamed {
		t.Errorf("got %s", got)
	}
	const remedy = ` is not one of snatAddresses; add it to snatAddresses, or remove it`
	checkFaults(t, []faulty{
		{"not listed", listed + `"snatAddressesRouted": ["192.0.2.22"]`, `snatAddressesRouted: "192.0.2.22"` + remedy},
		{"no list", `"snatAddressesRouted": ["192.0.2.1"]`, `snatAddressesRouted: "192.0.2.1"` + remedy},
		{"twice", listed + `"snatAddressesRouted": ["192.0.2.1", "192.0.2.1"]`, `snatAddressesRouted: "192.0.2.1" is given twice; keep one of them`},
		{"type", listed + `"snatAddressesRouted": true`, `snatAddressesRouted: true is a boolean; give a list of addresses such as ["192.0.2.1"]`},
	})
}

func TestSNATAddressesMost(t *testing.T) {
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"192.0.2.%d"`, i))
		}
		return `"snatAddresses": [` + strings.Join(all, ",") + `]`
	}
	if got := len(load(t, list(64)).Policy.SNATAddresses); got != 64 {
		t.Errorf("got %d addresses, want 64", got)
	}
	checkFaults(t, []faulty{{
		"65", list(65),
		`snatAddresses: "[\"192.0.2.0\",\"192.0.2.1\",\"192.0.2.2\",\"192.0.2.3\",\"192.0.2.4\",\"192.0.2.5\",\"192.0.2.6\",\"192.0.2.7\",\"192.0.2.8\",\"192.0.2.9\"..." has 65 entries; give at most 64`,
	}})
}

func TestSNATFamilies(t *testing.T) {
	const both = `"snatAddresses": ["192.0.2.1", "2001:db8::1", "2001:db8::2"]`
	checkFaults(t, []faulty{
		{
			"no IPv6", both + `, "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}`,
			`snatAddresses: "2001:db8::1" cannot be used: the network has no IPv6 subnet; remove it, or give the network an IPv6 subnet` + "\n" +
				`snatAddresses: "2001:db8::2" cannot be used: the network has no IPv6 subnet; remove it, or give the network an IPv6 subnet`,
		},
		{
			"no IPv4", both + `, "ipam": {"type": "host-local", "subnet": "fd00::/64"}`,
			`snatAddresses: "192.0.2.1" cannot be used: the network has no IPv4 subnet; remove it, or give the network an IPv4 subnet`,
		},
	})
	load(t, both+`, "ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "ranges": [[{"subnet": "fd00::/64"}]]}`)
	load(t, both) // subnets are unknown
	// Another IPAM plugin may have more subnets under other keys.
	load(t, both+`, "ipam": {"type": "other", "subnet": "10.88.0.0/16", "subnet6": "fd00::/64"}`)
	// The ranges of the runtime count.
	load(t, both+`, "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}, "runtimeConfig": {"ipRanges": [[{"subnet": "fd00::/64"}]]}`)
}
