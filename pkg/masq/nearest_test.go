package masq

import "testing"

func TestNearest(t *testing.T) {
	candidates := []string{
		"cniVersion", "name", "type", "mtu", "ipMasq", "ipMasqBackend", "nonMasqueradeCIDRs", "masqueradeCIDRs",
		"masqLinkLocal", "masqLinkLocalIPv6", "snatAddresses", "mssClamp", "helpers", "spoofCheck", "dropInvalid",
	}
	for word, want := range map[string]string{
		"mtu": "mtu", "mut": "mtu", "mtuu": "mtu", "m": "", "mss": "",
		"nonMasqueradeCidr": "nonMasqueradeCIDRs", "nonMasqueradeCIDRs6": "nonMasqueradeCIDRs",
		"masqeradCIDR": "masqueradeCIDRs", "masqeradCID": "",
		"masqlinklocalipv6": "masqLinkLocalIPv6", "masqLinkLocalIPv4": "masqLinkLocalIPv6", "helper": "helpers",
		"spoofcheck": "spoofCheck", "macspoofchk": "", "ipMasquerade": "", "": "", "snatIP": "",
		"NonMasqueradeSrcCIDRs": "", "nonMasqueradeDstCIDRs": "", "NonMasqueradeCIDRS": "nonMasqueradeCIDRs", "nonMasqueradingCIDRs": "nonMasqueradeCIDRs",
	} {
		if got := Nearest(word, candidates); got != want {
			t.Errorf("Nearest(%q) is %q, want %q", word, got, want)
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
