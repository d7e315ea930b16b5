package nodeconf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestMSSClamps(t *testing.T) {
	want := masq.MSSClamps{netip.MustParsePrefix("198.51.100.0/24"): 172, netip.MustParsePrefix("2001:db8::/32"): 1220}
	for _, text := range []string{
		`{"mssClamps": {"198.51.100.0/24": 172, "2001:db8::/32": 1220}}`,
		"mssClamps: {198.51.100.0/24: 172, 2001:db8::/32: 1220}",
		"mssClamps:\n  198.51.100.0/24: 172\n  2001:db8::/32: 1220\n",
	} {
		if got := load(t, text).Policy.MSSClamps; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v", text, got)
		}
	}
	if got := load(t, "mssClamps: {}").Policy.MSSClamps; got != nil {
		t.Errorf("no entries give %v", got)
	}
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "  10.%d.%d.0/24: 500\n", i>>8, i&255)
		}
		return "mssClamps:\n" + b.String()
	}
	if got := load(t, many(masq.MaxPrefixes)).Policy.MSSClamps; len(got) != masq.MaxPrefixes {
		t.Errorf("%d entries", len(got))
	}
	if _, err := Parse("f", []byte(many(masq.MaxPrefixes+1))); err == nil || !strings.Contains(err.Error(), "has 1025 entries; give at most 1024") {
		t.Error(err)
	}
	checkFaults(t, []faulty{
		{"list", "mssClamps: [1]", `f:1:12: mssClamps: "[1]" is a list; give prefixes with their MSS, such as {"198.51.100.0/24": 1220}`},
		{"null", "mssClamps: null", `f:1:12: mssClamps: null is not allowed here; give prefixes with their MSS, such as {"198.51.100.0/24": 1220}`},
		{"address", `{"mssClamps": {"198.51.100.1": 172}}`, `f:1:16: mssClamps: "198.51.100.1" is an address, not a prefix; write "198.51.100.1/32"`},
		{"bits", `{"mssClamps": {"198.51.100.1/24": 172}}`, `f:1:16: mssClamps: "198.51.100.1/24" has bits beyond its length; write "198.51.100.0/24"`},
		{"small", `{"mssClamps": {"198.51.100.0/24": 47}}`, `f:1:35: mssClamps.198.51.100.0/24: 47 is not a number of bytes within 48-65495; give 48-65495`},
		{"word", `{"mssClamps": {"198.51.100.0/24": "pmtu"}}`, `f:1:35: mssClamps.198.51.100.0/24: "pmtu" is a string; give 48-65495`},
		{"twice", `{"mssClamps": {"2001:db8::/32": 1000, "2001:DB8:0::/32": 1000}}`, `f:1:39: mssClamps: "2001:DB8:0::/32" is given twice, first on line 1, column 16; keep one of them`},
	})
}

// TestMergeMSSClamps: entries of several files are united; two sizes of one prefix conflict.
func TestMergeMSSClamps(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a", "mssClamps: {10.0.0.0/8: 500}")
	b := write(t, dir, "b", "mssClamps: {10.0.0.0/8: 500, 10.1.0.0/16: 900}")
	n, err := LoadFiles(a, b)
	if err != nil || len(n.Policy.MSSClamps) != 2 {
		t.Errorf("%v, %v", n.Policy.MSSClamps, err)
	}
	c := write(t, dir, "c", "mssClamps: {10.0.0.0/8: 501}")
	_, err = LoadFiles(a, c)
	wantFaults(t, err, c+`:1:13: mssClamps: "10.0.0.0/8" with 501 conflicts with "10.0.0.0/8" with 500 at `+a+":1:13; keep one of them")
}
