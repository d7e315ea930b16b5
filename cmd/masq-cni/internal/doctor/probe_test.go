package doctor

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"198.51.100.7:443":         "198.51.100.7 port 443 (tcp)",
		"198.51.100.7:53/udp":      "198.51.100.7 port 53 (udp)",
		"198.51.100.7:53/tcp":      "198.51.100.7 port 53 (tcp)",
		"[2001:db8::7]:443":        "2001:db8::7 port 443 (tcp)",
		"[::ffff:198.51.100.7]:80": "::ffff:198.51.100.7 port 80 (tcp)",
		"www.example.org:80":       "www.example.org port 80 (tcp)",
	} {
		got, err := parseTarget(in)
		if err != nil || got.String() != want || got.Address.Addr().Is4In6() {
			t.Errorf("%s: %v, %v; want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"198.51.100.7":         "it has no port",
		"2001:db8::7":          "it has no port",
		"198.51.100.7:0":       "the port is not within",
		"198.51.100.7:65536":   "the port is not within",
		"198.51.100.7:http":    "the port is not within",
		"198.51.100.7:80/sctp": "the protocol is neither",
		"[fe80::1%eth0]:80":    "the address is not one",
		"[fe80::1]:80":         "the address is not one",
		"224.0.0.1:80":         "the address is not one",
		"0.0.0.0:80":           "the address is not one",
		":80":                  "the host is neither",
		"a b:80":               "the host is neither",
	} {
		if got, err := parseTarget(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", in, got, err, want)
		}
	}
}
