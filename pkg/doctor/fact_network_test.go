package doctor

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestSetSysctl(t *testing.T) {
	for key, want := range map[string]string{
		"net/ipv4/ip_forward":               "sysctl -w net.ipv4.ip_forward=1",
		"net/ipv4/conf/eth0.100/forwarding": "sysctl -w net/ipv4/conf/eth0.100/forwarding=1", // with dots, sysctl would split the name
		"net/ipv4/conf/a b/forwarding":      "sysctl -w 'net.ipv4.conf.a b.forwarding=1'",
	} {
		if got := setSysctl(key, "1"); got != want {
			t.Errorf("%s: %s", key, got)
		}
	}
}

func TestListed(t *testing.T) {
	for want, names := range map[string][]string{
		"":                     nil,
		"a":                    {"a"},
		"a and b":              {"a", "b"},
		"a, b, c and d":        {"a", "b", "c", "d"},
		"a, b, c and 2 others": {"a", "b", "c", "d", "e"},
	} {
		if got := listed(names); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestOverlapsOfNetworks(t *testing.T) {
	record := func(network, ipam, prefix string) store.Record {
		return store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: network, ContainerID: prefix}}, IPAM: ipam, Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	}
	for _, c := range []struct {
		name string
		a, b store.Record
		want int
	}{
		{"the same subnet", record("a", hostLocal, "10.88.0.2/16"), record("b", hostLocal, "10.88.0.3/16"), 1},
		{"a part of it", record("a", hostLocal, "10.88.0.2/16"), record("b", hostLocal, "10.88.5.3/24"), 1},
		{"one network", record("a", hostLocal, "10.88.0.2/16"), record("a", hostLocal, "10.88.0.3/16"), 0},
		{"different subnets", record("a", hostLocal, "10.88.0.2/16"), record("b", hostLocal, "10.89.0.3/16"), 0},
		{"leases that may be shared", record("a", "whereabouts", "10.88.0.2/16"), record("b", "whereabouts", "10.88.0.3/16"), 0},
		{"single addresses", record("a", hostLocal, "10.88.0.2/32"), record("b", hostLocal, "10.88.0.2/32"), 0},
		{"link-local", record("a", hostLocal, "fe80::2/64"), record("b", hostLocal, "fe80::3/64"), 0},
	} {
		if got := overlapsOfNetworks(networkSubnets([]store.Record{c.a, c.b})); len(got) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestOfferedMSS(t *testing.T) {
	fixed := func(n int) masq.Clamp {
		c, err := masq.ClampTo(n)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		clamp  masq.Clamp
		family masq.Family
		mtu    int
		want   int
	}{
		{masq.ClampOff, masq.IPv4, 1500, 1460},
		{masq.ClampOff, masq.IPv6, 1500, 1440},
		{fixed(1300), masq.IPv4, 1500, 1300},
		{fixed(1460), masq.IPv6, 1500, 1440}, // no larger than the link allows
	} {
		g := clampGroup{policy: masq.Policy{MSSClamp: c.clamp}, family: c.family, mtu: c.mtu}
		if got := g.offered(); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestClamped(t *testing.T) {
	clamps := func(all map[string]uint16) masq.MSSClamps {
		out := masq.MSSClamps{}
		for p, mss := range all {
			out[netip.MustParsePrefix(p)] = mss
		}
		return out
	}
	for _, c := range []struct {
		name   string
		clamps map[string]uint16
		to     string
		want   bool
	}{
		{"none", nil, "0.0.0.0/0", false},
		{"all", map[string]uint16{"0.0.0.0/0": 1360}, "0.0.0.0/0", true},
		{"all, in two parts", map[string]uint16{"0.0.0.0/1": 1360, "128.0.0.0/1": 1300}, "0.0.0.0/0", true},
		{"half", map[string]uint16{"0.0.0.0/1": 1360}, "0.0.0.0/0", false},
		{"the other half", map[string]uint16{"128.0.0.0/1": 1360}, "0.0.0.0/0", false},
		{"all but a part", map[string]uint16{"0.0.0.0/0": 1360, "198.51.100.0/24": 1460}, "0.0.0.0/0", false},
		{"too large", map[string]uint16{"0.0.0.0/0": 1361}, "0.0.0.0/0", false},
		{"one destination", map[string]uint16{"198.51.100.0/24": 1360}, "198.51.100.7/32", true},
		{"another destination", map[string]uint16{"198.51.101.0/24": 1360}, "198.51.100.7/32", false},
	} {
		g := clampGroup{policy: masq.Policy{MSSClamps: clamps(c.clamps)}, family: masq.IPv4}
		if got := g.clamped(narrowPath{to: netip.MustParsePrefix(c.to), mss: 1360}); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
