package nodeconf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSNATAddresses(t *testing.T) {
	const such = `; give an address that the node is reached at, such as "192.0.2.1"`
	in := func(list string) string { return `{"snatAddresses": ` + list + `}` }
	const at = "f:1:20: snatAddresses: "
	checkFaults(t, []faulty{
		{"prefix", in(`["192.0.2.1/32"]`), at + `"192.0.2.1/32" is not an address: it has a prefix length; give addresses without prefix lengths`},
		{"none", in(`["eth0"]`), at + `"eth0" is not an address` + such},
		{"zone", in(`["fe80::1%eth0"]`), at + `"fe80::1%eth0" has a zone` + such},
		{"unspecified", in(`["0.0.0.0"]`), at + `"0.0.0.0" is the unspecified address` + such},
		{"loopback", in(`["127.1.2.3"]`), at + `"127.1.2.3" is a loopback address` + such},
		{"multicast", in(`["ff02::1"]`), at + `"ff02::1" is a multicast address` + such},
		{"link-local", in(`["fe80::1"]`), at + `"fe80::1" is a link-local address` + such},
		{"broadcast", in(`["255.255.255.255"]`), at + `"255.255.255.255" is the broadcast address` + such},
		{"mapped", in(`["::ffff:192.0.2.1"]`), at + `"::ffff:192.0.2.1" is IPv4 mapped into IPv6; write "192.0.2.1"`},
		{"twice", in(`["2001:db8::1", "2001:db8:0::1"]`), `f:1:35: snatAddresses: "2001:db8:0::1" is given twice, first on line 1, column 20; keep one of them`},
		{"element", in(`[null]`), at + `null is not allowed here; give a list of addresses such as ["192.0.2.1"]`},
		{"type", in(`"192.0.2.1"`), `f:1:19: snatAddresses: "192.0.2.1" is a string; give a list of addresses such as ["192.0.2.1"]`},
		{"null", in(`null`), `f:1:19: snatAddresses: null is not allowed here; give a list of addresses such as ["192.0.2.1"]`},
	})
	n := load(t, "snatAddresses: [2001:db8::1, 192.0.2.2, 192.0.2.1]")
	if got := n.Policy.SNATAddresses; !slices.Equal(got, addrsOf("2001:db8::1", "192.0.2.2", "192.0.2.1")) {
		t.Errorf("got %v", got)
	}
}

// A routed address must be an egress address of any file.
func TestSNATAddressesRouted(t *testing.T) {
	n := mustMerge(t, "snatAddresses: [192.0.2.1]\nsnatAddressesRouted: [2001:db8::1]", "snatAddresses: [2001:db8::1]")
	if got := n.Policy.SNATRouted; !slices.Equal(got, addrsOf("2001:db8::1")) {
		t.Errorf("got %v", got)
	}
	again, err := Parse("f", []byte(must(n.MarshalJSON())))
	if err != nil || !slices.Equal(again.Policy.SNATRouted, n.Policy.SNATRouted) || !strings.Contains(n.String(), "snatAddressesRouted 2001:db8::1\n") {
		t.Errorf("%v, %v, %s", again.Policy.SNATRouted, err, n)
	}
	const remedy = ` is not one of snatAddresses; add it to snatAddresses, or remove it`
	checkFaults(t, []faulty{
		{"not listed", `{"snatAddresses": ["192.0.2.1"], "snatAddressesRouted": ["192.0.2.11"]}`, `f:1:58: snatAddressesRouted: "192.0.2.11"` + remedy},
		{"no list", `{"snatAddressesRouted": ["192.0.2.1"]}`, `f:1:26: snatAddressesRouted: "192.0.2.1"` + remedy},
		{"no address", `{"snatAddressesRouted": ["eth0"]}`, `f:1:26: snatAddressesRouted: "eth0" is not an address; give an address that the node is reached at, such as "192.0.2.1"`},
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestSNATAddressesMost(t *testing.T) {
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("192.0.2.%d", i))
		}
		return "snatAddresses: [" + strings.Join(all, ",") + "]"
	}
	if got := len(load(t, list(64)).Policy.SNATAddresses); got != 64 {
		t.Errorf("got %d", got)
	}
	_, err := Parse("f", []byte(list(65)))
	if err == nil || !strings.HasSuffix(err.Error(), " has 65 entries; give at most 64") {
		t.Errorf("got %v", err)
	}
}
