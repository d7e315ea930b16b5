package cniconf

import (
	"cmp"
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"mtu": "mtu", "mut": "mtu", "mtuu": "mtu", "m": "", "mss": "",
		"nonMasqueradeCidr": "nonMasqueradeCIDRs", "nonMasqueradeCIDRs6": "nonMasqueradeCIDRs",
		"masqlinklocalipv6": "masqLinkLocalIPv6", "masqLinkLocalIPv4": "masqLinkLocalIPv6", "helper": "helpers",
		"spoofcheck": "spoofCheck", "macspoofchk": "", "ipMasquerade": "", "": "", "snatIP": "",
	} {
		if got := nearest(word, keyOrder); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "acb", 1},
		{"abc", "ab", 1},
		{"ab", "xaby", 2},
		{"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// A policy's keys are ours, and ours have a place in the order.
func TestKeyLists(t *testing.T) {
	for _, key := range policyKeys {
		if i, j := rankOf(key), rankOf("ipMasq"); i <= j || i >= rankOf("capabilities") {
			t.Errorf("%s is not among our keys", key)
		}
	}
	order := []string{"name", "stateDir", "prevResult", "zz", argsPlace}
	if !slices.IsSortedFunc(order, func(a, b string) int { return cmp.Compare(rankOf(a), rankOf(b)) }) {
		t.Errorf("%v are not in this order", order)
	}
}
