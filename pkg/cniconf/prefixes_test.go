package cniconf

import (
	"fmt"
	"strings"
	"testing"
)

func TestPrefixes(t *testing.T) {
	const such = `; give one such as "10.0.0.0/8" or "fd00::/8"`
	for _, key := range []string{"nonMasqueradeCIDRs", "masqueradeCIDRs"} {
		in := func(list string) string { return fmt.Sprintf(`"%s": %s`, key, list) }
		checkFaults(t, []faulty{
			{key + " misaligned", in(`["10.0.0.1/8"]`), key + `: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"`},
			{key + " misaligned v6", in(`["fd00::1/8"]`), key + `: "fd00::1/8" has bits beyond its length; write "fd00::/8"`},
			{key + " address", in(`["192.0.2.1"]`), key + `: "192.0.2.1" is an address, not a prefix; write "192.0.2.1/32"`},
			{key + " none", in(`["ten"]`), key + `: "ten" is not a prefix` + such},
			{key + " too long", in(`["10.0.0.0/33"]`), key + `: "10.0.0.0/33" is not a prefix` + such},
			{key + " zone", in(`["fe80::%1/64"]`), key + `: "fe80::%1/64" is not a prefix` + such},
			{key + " mapped", in(`["::ffff:10.0.0.1/104"]`), key + `: "::ffff:10.0.0.1/104" is IPv4 mapped into IPv6; write "10.0.0.0/8"`},
			{key + " mapped short", in(`["::ffff:10.0.0.1/64"]`), key + `: "::ffff:10.0.0.1/64" is IPv4 mapped into IPv6; write it as IPv4`},
			{key + " twice", in(`["fd00::/64", "fd00:0::/64"]`), key + `: "fd00:0::/64" is given twice; keep one of them`},
			{key + " element", in(`[10]`), key + `: 10 is a number; give a list of prefixes such as ["10.0.0.0/8"]`},
			{key + " type", in(`"10.0.0.0/8"`), key + `: "10.0.0.0/8" is a string; give a list of prefixes such as ["10.0.0.0/8"]`},
			{key + " null", in(`null`), key + `: null is not allowed here; give a list of prefixes such as ["10.0.0.0/8"]`},
			{key + " two", in(`["a", "b"]`), key + `: "a" is not a prefix` + such + "\n" + key + `: "b" is not a prefix` + such},
		})
	}
	checkFaults(t, []faulty{{
		"both", `"nonMasqueradeCIDRs": ["10.0.0.0/8", "fd00::/8"], "masqueradeCIDRs": ["fd00::/8"]`,
		`masqueradeCIDRs: "fd00::/8" is in nonMasqueradeCIDRs too; keep one of them`,
	}})
}

func TestPrefixesMost(t *testing.T) {
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"10.%d.%d.0/24"`, i/256, i%256))
		}
		return `"masqueradeCIDRs": [` + strings.Join(all, ",") + `]`
	}
	if got := len(load(t, list(1024)).Policy.Masquerade); got != 1024 {
		t.Errorf("got %d prefixes, want 1024", got)
	}
	shown := `"[\"10.0.0.0/24\",\"10.0.1.0/24\",\"10.0.2.0/24\",\"10.0.3.0/24\",\"10.0.4.0/24\",\"10.0.5.0/24\",\"10.0.6.0/24\",\"10.0.7.0/24\",\"10.0.8..."`
	checkFaults(t, []faulty{{"1025", list(1025), `masqueradeCIDRs: ` + shown + ` has 1025 entries; give at most 1024`}})
}
