package masq

import (
	"net/netip"
	"testing"
)

func TestMSSTo(t *testing.T) {
	clamp := func(n int) Clamp {
		c, err := ClampTo(n)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	narrow := MSSClamps{
		netip.MustParsePrefix("198.51.100.0/24"): 1000, netip.MustParsePrefix("198.51.100.128/25"): 600,
		netip.MustParsePrefix("2001:db8::/32"): 1100,
	}
	for _, tt := range []struct {
		policy Policy
		to     string
		want   int
	}{
		{Policy{}, "198.51.100.1", 0},
		{Policy{MSSClamp: clamp(900)}, "198.51.100.1", 900},
		{Policy{MSSClamps: narrow}, "198.51.100.1", 1000},
		{Policy{MSSClamps: narrow}, "198.51.100.200", 600},
		{Policy{MSSClamps: narrow}, "198.51.101.1", 0},
		{Policy{MSSClamps: narrow}, "2001:db8::1", 1100},
		{Policy{MSSClamps: narrow, MSSClamp: clamp(900)}, "198.51.100.1", 900},
		{Policy{MSSClamps: narrow, MSSClamp: clamp(900)}, "198.51.100.200", 600},
		{Policy{MSSClamps: narrow, LocalMSSClamps: MSSClamps{netip.MustParsePrefix("0.0.0.0/0"): 500}}, "198.51.100.1", 500},
	} {
		if got := tt.policy.MSSTo(netip.MustParseAddr(tt.to)); got != tt.want {
			t.Errorf("%+v to %s: %d, want %d", tt.policy, tt.to, got, tt.want)
		}
	}
}
