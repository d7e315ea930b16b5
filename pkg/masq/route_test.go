package masq

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRouteValidate(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")
	for _, c := range []struct {
		route Route
		want  string // the keys at fault
	}{
		{Route{Dst: v4}, ""},
		{Route{Dst: v4, MTU: 1500, AdvMSS: 65495, Priority: 1<<32 - 1, Table: 1<<32 - 1, Scope: 200}, ""},
		{Route{Dst: v4, MTU: 68, AdvMSS: 1, Priority: 1, Table: 1}, ""},
		{Route{Dst: v6, MTU: 1280, AdvMSS: 1220, Priority: 1024, Table: 254}, ""},
		{Route{Dst: v4, MTU: 1501}, "mtu"},
		{Route{Dst: v4, MTU: 67}, "mtu"},
		{Route{Dst: v6, MTU: 1279}, "mtu"},
		{Route{Dst: v4, MTU: -1, AdvMSS: -1, Priority: -1, Table: -1, Scope: -1}, "mtu advmss priority table scope"},
		{Route{Dst: v4, AdvMSS: 65496, Priority: 1 << 32, Table: 1 << 32}, "advmss priority table"},
		{Route{Dst: v4, Scope: 253}, "scope"},
		{Route{Dst: v4, Scope: 254}, "scope"},
		{Route{Dst: v6, Scope: 1}, "scope"},
	} {
		err := c.route.Validate(1500)
		var keys []string
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				_, rest, _ := strings.Cut(line, "route to "+c.route.Dst.String()+": ")
				key, _, _ := strings.Cut(rest, ":")
				keys = append(keys, key)
			}
		}
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%+v: faults of %q, not of %q: %v", c.route, got, c.want, err)
		}
	}
}
