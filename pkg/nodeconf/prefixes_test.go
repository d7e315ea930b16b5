package nodeconf

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// many is a flow list of n prefixes.
func many(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func TestPrefixes(t *testing.T) {
	for _, key := range []string{"nonMasqueradeCIDRs", "masqueradeCIDRs", "sourceCIDRs"} {
		line := func(s string) string { return "\n" + key + ": [" + s + "]" }
		at := fmt.Sprintf("f:2:%d: %s: ", len(key)+4, key)
		checkFaults(t, []faulty{
			{key + " misaligned", line("10.0.0.1/8"), at + `"10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"`},
			{key + " misaligned v6", line("fd00::1/8"), at + `"fd00::1/8" has bits beyond its length; write "fd00::/8"`},
			{key + " address", line("10.0.0.1"), at + `"10.0.0.1" is an address, not a prefix; write "10.0.0.1/32"`},
			{key + " address v6", line(`"fd00::1"`), at + `"fd00::1" is an address, not a prefix; write "fd00::1/128"`},
			{key + " mapped", line(`"::ffff:10.0.0.0/104"`), at + `"::ffff:10.0.0.0/104" is IPv4 mapped into IPv6; write "10.0.0.0/8"`},
			{key + " mapped short", line(`"::ffff:0:0/95"`), at + `"::ffff:0:0/95" is IPv4 mapped into IPv6; write it as IPv4`},
			{key + " zone", line("fe80::%a/64"), at + `"fe80::%a/64" is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"`},
			{key + " empty", line(`""`), at + `"" is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"`},
			{key + " word", line("abcdefg"), at + `"abcdefg" is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"`},
			{key + " range", line("10.256.0.0/16"), at + `"10.256.0.0/16" is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"`},
			{key + " null", line("null"), at + `null is not allowed here; give a list of prefixes such as ["10.0.0.0/8"]`},
			{key + " number", line("10"), at + `10 is a number; give a list of prefixes such as ["10.0.0.0/8"]`},
			{key + " text", "\n" + key + ": 10.0.0.0/8", at[:len("f:2:")] + fmt.Sprintf("%d: %s: ", len(key)+3, key) + `"10.0.0.0/8" is a string; give a list of prefixes such as ["10.0.0.0/8"]`},
		})
	}
	for _, key := range []string{"masqueradeCIDRs", "sourceCIDRs"} {
		checkFaults(t, []faulty{
			{key + " twice", key + ":\n- 10.0.0.0/8\n- 10.0.0.0/8", "f:3:3: " + key + `: "10.0.0.0/8" is given twice, first on line 2, column 3; keep one of them`},
			{key + " null", key + ":", fmt.Sprintf("f:1:%d: ", len(key)+2) + key + `: null is not allowed here; give a list of prefixes such as ["10.0.0.0/8"]`},
		})
	}
	checkFaults(t, []faulty{
		{"both", "masqueradeCIDRs: [10.0.0.0/8]\nnonMasqueradeCIDRs: [fd00::/8, 10.0.0.0/8]", `f:1:19: masqueradeCIDRs: "10.0.0.0/8" is in nonMasqueradeCIDRs too, on line 2, column 32; keep one of them`},
	})
}

func TestPrefixesInOrder(t *testing.T) {
	n := load(t, "nonMasqueradeCIDRs: [192.168.0.0/16, fd00::/8, 0.0.0.0/0, 192.168.0.0/16]\nmasqueradeCIDRs: [::/0]\nsourceCIDRs: [10.1.0.0/16, 10.0.0.0/8]")
	if got, want := n.Policy.NonMasquerade, prefixesOf("192.168.0.0/16", "fd00::/8", "0.0.0.0/0"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got, want := n.Policy.Masquerade, prefixesOf("::/0"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got, want := n.SourceCIDRs, prefixesOf("10.1.0.0/16", "10.0.0.0/8"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCIDRLimit(t *testing.T) {
	for _, tt := range []struct {
		limit string
		n     int
		ok    bool
	}{
		{"", 64, true},
		{"", 65, false},
		{"cidrLimit: 65", 65, true},
		{"cidrLimit: 2", 3, false},
		{"cidrLimit: 0", 0, true},
		{"cidrLimit: 0", 1, false},
		{"cidrLimit:", 64, true}, // null is ignored, as by ip-masq-agent
		{"cidrLimit: ~", 65, false},
		{"cidrLimit: 9999999", 1024, true},
		{"cidrLimit: 9999999", 1025, false},
	} {
		for _, text := range []string{
			tt.limit + "\nnonMasqueradeCIDRs: " + many(tt.n),
			"nonMasqueradeCIDRs: " + many(tt.n) + "\n" + tt.limit, // in any order
		} {
			n, err := Parse("f", []byte(text))
			if ok := err == nil; ok != tt.ok || ok && len(n.Policy.NonMasquerade) != tt.n {
				t.Errorf("%d entries with %q: %v", tt.n, tt.limit, err)
			}
		}
	}
	// It does not apply to other lists, which have a separate maximum.
	if n := load(t, "cidrLimit: 1\nmasqueradeCIDRs: "+many(1024)+"\nsourceCIDRs: "+many(1024)); len(n.Policy.Masquerade) != 1024 {
		t.Errorf("got %d", len(n.Policy.Masquerade))
	}
	const remedy = "; give a whole number such as 64, or remove the key"
	long := many(65)
	checkFaults(t, []faulty{
		{"text", `cidrLimit: "64"`, `f:1:12: cidrLimit: "64" is a string` + remedy},
		{"float", "cidrLimit: 64.0", "f:1:12: cidrLimit: 64.0 is not a whole number in plain digits" + remedy},
		{"octal", "cidrLimit: 0100", "f:1:12: cidrLimit: 0100 is not a whole number in plain digits" + remedy},
		{"hex", "cidrLimit: 0x40", "f:1:12: cidrLimit: 0x40 is not a whole number in plain digits" + remedy},
		{"plus", "cidrLimit: +64", "f:1:12: cidrLimit: +64 is not a whole number in plain digits" + remedy},
		{"huge", "cidrLimit: 99999999999999999999", "f:1:12: cidrLimit: 99999999999999999999 is not a whole number in plain digits" + remedy},
		{"negative", "cidrLimit: -1\nnonMasqueradeCIDRs: [10.0.0.0/8]", "f:1:12: cidrLimit: -1 is negative" + remedy},
		{
			"65", "nonMasqueradeCIDRs: " + long,
			`f:1:21: nonMasqueradeCIDRs: ` + masq.Quote(`["`+strings.ReplaceAll(long[1:200], ", ", `","`)) + ` has 65 entries, and cidrLimit is 64; remove entries, or raise cidrLimit`,
		},
	})
}

// A prefix of masqueradeCIDRs overrides the same prefix among the defaults. Otherwise the
// longest prefix decides.
func TestMasqueradeAgainstDefaults(t *testing.T) {
	n := load(t, "masqueradeCIDRs: [10.0.0.0/8, 0.0.0.0/0, 192.168.7.0/24]")
	for addr, direct := range map[string]bool{"10.1.1.1": false, "172.16.0.1": true, "192.168.7.1": false, "192.168.8.1": true, "8.8.8.8": false} {
		if isDirect(n.Policy, addrsOf(addr)[0]) != direct {
			t.Errorf("%s: direct is not %t", addr, direct)
		}
	}
}
