package ruleset

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/golden"
)

func attachment(id string, p masq.Policy, addrs ...string) masq.Attachment {
	a := masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Policy: &p, SpoofCheck: true}
	for _, s := range addrs {
		a.Addresses = append(a.Addresses, netip.MustParseAddr(s))
	}
	return a
}

func change(f func(*masq.Policy)) masq.Policy {
	p := masq.Default()
	f(&p)
	return p
}

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func clampTo(t *testing.T, n int) masq.Clamp {
	t.Helper()
	c, err := masq.ClampTo(n)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func clamps(all ...string) masq.MSSClamps {
	out := masq.MSSClamps{}
	for _, s := range all {
		prefix, mss, _ := strings.Cut(s, "=")
		n, err := strconv.ParseUint(mss, 10, 16)
		if err != nil {
			panic(err)
		}
		out[netip.MustParsePrefix(prefix)] = uint16(n)
	}
	return out
}

// TestGolden compares tables with files that nft listed. In pkg/nft, nft reads the files.
func TestGolden(t *testing.T) {
	chained := attachment("a", masq.Default(), "10.88.0.5")
	chained.SpoofCheck = false
	bare := chained
	bare.Policy = nil
	cases := map[string][]masq.Attachment{
		"none":    nil,
		"default": {attachment("a", change(func(p *masq.Policy) { p.Subnets = prefixes("10.88.0.0/16") }), "10.88.0.5")},
		"chained": {chained},
		"bare":    {bare},
		"dual": {attachment("a", change(func(p *masq.Policy) {
			p.Subnets = prefixes("10.88.0.0/16", "fd00:88::/64")
			p.NonMasquerade, p.Masquerade = prefixes("10.0.0.0/8"), prefixes("10.9.0.0/16")
			p.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21, 2121}}, {Name: "irc", Ports: []uint16{6667}}}
		}), "10.88.0.5", "fd00:88::5")},
		"ports": {attachment("a", change(func(p *masq.Policy) {
			p.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}, {First: 40000, Last: 40999}}
		}), "10.88.0.5")},
		"snat": {attachment("a", change(func(p *masq.Policy) {
			p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
			p.RandomFully = false
		}), "10.88.0.5", "fd00:88::5")},
		"snat-ports": {attachment("a", change(func(p *masq.Policy) {
			p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
			p.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
		}), "10.88.0.5", "fd00:88::5")},
		"clamp": {
			attachment("a", change(func(p *masq.Policy) { p.MSSClamp = clampTo(t, 1300) }), "10.88.0.5"),
			attachment("b", change(func(p *masq.Policy) { p.MSSClamp = masq.ClampOff }), "10.88.0.6"),
			attachment("c", masq.Default(), "10.88.0.7"),
		},
		"mss": {
			attachment("a", change(func(p *masq.Policy) {
				p.MSSClamps = clamps("198.51.100.0/24=172", "198.51.100.64/26=500", "10.0.0.0/8=1300", "2001:db8::/32=1220")
			}), "10.88.0.5", "fd00:88::5"),
			attachment("b", change(func(p *masq.Policy) { p.MSSClamp, p.MSSClamps = masq.ClampOff, clamps("0.0.0.0/0=1000", "::/0=1220") }), "10.88.0.6"),
			attachment("c", masq.Default(), "10.88.0.7"),
		},
		"egress-direct": {attachment("a", change(func(p *masq.Policy) { p.EgressDirect = true }), "10.88.0.5")},
	}
	sources := map[string]Sources{"sources": {
		Prefixes: prefixes("10.244.0.0/16", "10.244.1.0/24", "fd00:244::/56"),
		Policy: change(func(p *masq.Policy) {
			p.Node, p.NonMasquerade = true, prefixes("10.0.0.0/8")
			p.Helpers = []masq.Helper{{Name: "ftp", Ports: []uint16{21}}}
			p.LocalMSSClamps = clamps("198.51.100.0/24=172")
		}),
	}}
	v4 := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("192.0.2.2"): true}
	all := maps.Clone(v4)
	all[netip.MustParseAddr("2001:db8::1")] = true
	// The node has lost 192.0.2.2 and 2001:db8::1; 192.0.2.3 is declared as routed.
	have := map[string]Egress{
		"snat": {Addresses: all}, "snat-ports": {Addresses: all}, "snat-missing": {Addresses: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}},
		"reserved":      {Reserved: []masq.PortRange{{First: 22, Last: 22}, {First: 631, Last: 631}, {First: 9468, Last: 9468}, {First: 20001, Last: 20001}, {First: 30000, Last: 32767}}},
		"reserved-none": {Addresses: v4, Reserved: []masq.PortRange{{First: 600, Last: 65535}}},
	}
	cases["snat-missing"] = []masq.Attachment{attachment("a", change(func(p *masq.Policy) {
		p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("2001:db8::1")}
		p.SNATRouted = []netip.Addr{netip.MustParseAddr("192.0.2.3")}
		p.ToPorts = []masq.PortRange{{First: 20000, Last: 29999}}
	}), "10.88.0.5", "fd00:88::5")}
	cases["sources"] = []masq.Attachment{attachment("a", masq.Default(), "10.88.0.5")}
	cases["reserved"] = []masq.Attachment{
		attachment("a", masq.Default(), "10.88.0.5"),
		attachment("b", change(func(p *masq.Policy) { p.RandomFully = false }), "10.88.0.6"),
		attachment("c", change(func(p *masq.Policy) { p.ToPorts = []masq.PortRange{{First: 20000, Last: 20003}} }), "10.88.0.7"),
	}
	cases["reserved-none"] = []masq.Attachment{attachment("a", change(func(p *masq.Policy) {
		p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	}), "10.88.0.5", "fd00:88::5")}
	for name, attachments := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".nft")
			got := For(attachments, sources[name], have[name]).String()
			golden.Compare(t, path, []byte(got))
		})
	}
	files, err := filepath.Glob("testdata/*.nft")
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d golden files for %d cases, %v", len(files), len(cases), err)
	}
}

// TestShapeOfMSSClamps: the number of rules depends neither on the number of prefixes nor on
// the number of attachments, and without mssClamps there is neither a rule nor a map.
func TestShapeOfMSSClamps(t *testing.T) {
	shape := func(attachments, entries int) (sets, rules int) {
		p := change(func(p *masq.Policy) {
			p.MSSClamps = masq.MSSClamps{}
			for i := range entries {
				p.MSSClamps[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)] = uint16(100 + i)
			}
		})
		var all []masq.Attachment
		for i := range attachments {
			a := attachment(fmt.Sprint(i), p, netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i)}).String())
			a.Policy = &p
			all = append(all, a)
		}
		table := For(all, Sources{}, Egress{})
		for _, c := range table.Chains {
			rules += len(c.Rules)
		}
		return len(table.Sets), rules
	}
	sets0, rules0 := shape(1, 0)
	sets1, rules1 := shape(1, 1)
	setsN, rulesN := shape(1000, masq.MaxPrefixes)
	if sets1 != setsN || rules1 != rulesN || sets1-sets0 != 4 || rules1-rules0 != 4 {
		t.Errorf("sets and rules: without an entry %d, %d; with one %d, %d; with many %d, %d", sets0, rules0, sets1, rules1, setsN, rulesN)
	}
}

// TestShapeIsConstant: the number of rules does not grow with the number of attachments.
func TestShapeIsConstant(t *testing.T) {
	shape := func(n int) string {
		var all []masq.Attachment
		for i := range n {
			all = append(all, attachment(fmt.Sprint(i), masq.Default(), netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i)}).String()))
		}
		table := For(all, Sources{}, Egress{})
		rules := 0
		for _, c := range table.Chains {
			rules += len(c.Rules)
		}
		return fmt.Sprintf("%d sets, %d chains, %d rules", len(table.Sets), len(table.Chains), rules)
	}
	if one, many := shape(1), shape(10000); one != many {
		t.Errorf("one attachment has %s, many have %s", one, many)
	}
}

func TestEachRuleHasAnIDAndAReason(t *testing.T) {
	p := change(func(p *masq.Policy) {
		p.ToPorts = []masq.PortRange{{First: 1024, Last: 2000}, {First: 3000, Last: 4000}}
		p.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
		for _, k := range masq.HelperKinds {
			p.Helpers = append(p.Helpers, masq.Helper{Name: k.Name, Ports: k.Ports()})
		}
	})
	for _, c := range For([]masq.Attachment{attachment("a", p, "10.0.0.1", "fd00::1")}, Sources{}, Egress{Addresses: map[netip.Addr]bool{p.SNATAddresses[0]: true, p.SNATAddresses[1]: true}}).Chains {
		seen := map[string]bool{}
		for _, r := range c.Rules {
			if r.ID == "" || r.Why == "" || seen[r.ID] || len(r.ID) > 127 {
				t.Errorf("chain %s: rule %+v", c.Name, r)
			}
			seen[r.ID] = true
		}
	}
}

// TestChooseIsFair: the probability of each outcome is its share of the total weight.
func TestChooseIsFair(t *testing.T) {
	all := []outcome{{"masquerade to :1-10", 10}, {"masquerade to :11-40", 30}, {"masquerade to :41-60", 20}}
	left := 1.0
	for i, r := range choose("x", "", all, "why") {
		share := 1.0
		var modulus, bound float64
		if n, _ := fmt.Sscanf(r.Text, "numgen random mod %f < %f", &modulus, &bound); n == 2 {
			share = bound / modulus
		}
		if got, want := left*share, float64(all[i].weight)/60; got-want > 1e-9 || want-got > 1e-9 {
			t.Errorf("%q is taken %f of the time, not %f", r.Text, got, want)
		}
		left *= 1 - share
	}
	if left != 0 {
		t.Errorf("%f of the time none is taken", left)
	}
}

// TestOutsideNamesAreQuoted: names from outside reach the ruleset only in comments,
// quoted.
func TestOutsideNamesAreQuoted(t *testing.T) {
	a := attachment(`x" : drop, 0.0.0.0/0 : accept comment "`, masq.Default(), "10.0.0.1")
	for line := range strings.SplitSeq(For([]masq.Attachment{a}, Sources{}, Egress{}).String(), "\n") {
		if strings.Contains(line, "accept comment") && !strings.Contains(line, `\"`) {
			t.Errorf("unquoted: %s", line)
		}
	}
}
