package nodeconf

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Conformance with ip-masq-agent: a file has the same meaning in both programs. Settings and
// results come from syncConfigTests, TestSyncMasqRules and TestSyncMasqRulesIPv6 in
// cmd/ip-masq-agent/ip-masq-agent_test.go, from the README and from agent-config/config.
// Several files come from cmd/ip-masq-agent-v2/*_test.go and examples/ of
// Azure/ip-masq-agent-v2.

// rules are the RETURN rules that ip-masq-agent writes for a configuration, without its rule
// for link-local destinations.
type rules struct {
	direct                 []string
	linkLocal4, linkLocal6 bool // masqueraded
}

var rfc1918 = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}

// isDirect returns the decision of these rules: the first match returns, and the last rule
// masquerades. It is not for destinations that masqd never masquerades.
func (r rules) isDirect(a netip.Addr) bool {
	all := slices.Clone(r.direct)
	if !r.linkLocal4 {
		all = append(all, "169.254.0.0/16")
	}
	if !r.linkLocal6 {
		all = append(all, "fe80::/10")
	}
	return slices.ContainsFunc(prefixesOf(all...), func(p netip.Prefix) bool { return p.Contains(a) })
}

// isDirect reports whether a destination is in a direct range of a policy.
func isDirect(p masq.Policy, a netip.Addr) bool {
	return p.DirectRanges(masq.FamilyOf(a)).Contains(a)
}

// conforms compares the decisions at each bound of each rule, next to it, and elsewhere.
func (r rules) conforms(t *testing.T, p masq.Policy) {
	t.Helper()
	asked := addrsOf("0.0.0.0", "1.1.1.1", "8.8.8.8", "100.64.0.1", "169.254.169.254", "192.0.2.1", "198.18.0.1", "203.0.113.9", "223.255.255.255",
		"::", "2001:db8::1", "2606:4700::1", "fd00::1", "fe80::1", "febf::1", "fec0::1")
	for _, x := range append(prefixesOf(r.direct...), prefixesOf("169.254.0.0/16", "fe80::/10")...) {
		asked = append(asked, x.Addr().Prev(), x.Addr(), masq.LastAddr(x), masq.LastAddr(x).Next())
	}
	for _, a := range asked {
		never := a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if a.IsValid() && !never && isDirect(p, a) != r.isDirect(a) {
			t.Errorf("%s: direct is %t, in ip-masq-agent %t", a, isDirect(p, a), r.isDirect(a))
		}
	}
	for _, s := range []string{"224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"} {
		if !isDirect(p, netip.MustParseAddr(s)) {
			t.Errorf("%s is masqueraded", s)
		}
	}
}

func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name   string
		text   string
		want   rules
		resync time.Duration
	}{
		{"all keys", "resyncInterval: 5s\nmasqLinkLocal: true\ncidrLimit: 64\nnonMasqueradeCIDRs: [172.16.0.0/12, 10.0.0.0/8]\n", rules{[]string{"172.16.0.0/12", "10.0.0.0/8"}, true, false}, 5 * time.Second},
		{"prefixes", "nonMasqueradeCIDRs:\n- 192.168.0.0/16\n", rules{direct: []string{"192.168.0.0/16"}}, 0},
		{"link-local", "masqLinkLocal: true\n", rules{rfc1918, true, false}, 0},
		{"interval", "resyncInterval: 5m\n", rules{direct: rfc1918}, 5 * time.Minute},
		{"JSON, all keys", "\n{\"resyncInterval\":\"5s\",\"masqLinkLocal\":true,\"nonMasqueradeCIDRs\":[\"172.16.0.0/12\",\"10.0.0.0/8\"]}\n", rules{[]string{"172.16.0.0/12", "10.0.0.0/8"}, true, false}, 5 * time.Second},
		{"JSON, prefixes, tabs", "\n\t\t{\n\t\"nonMasqueradeCIDRs\":\t[\"192.168.0.0/16\"]\n}", rules{direct: []string{"192.168.0.0/16"}}, 0},
		{"JSON, link-local", `{"masqLinkLocal": true}`, rules{rfc1918, true, false}, 0},
		{"JSON, interval", `{"resyncInterval": "5m"}`, rules{direct: rfc1918}, 5 * time.Minute},
		{"JSON, IPv6", `{"nonMasqueradeCIDRs": ["172.16.0.0/12", "10.0.0.0/8", "fc00::/7"], "masqLinkLocal": true, "resyncInterval": "5s"}`, rules{[]string{"172.16.0.0/12", "10.0.0.0/8", "fc00::/7"}, true, false}, 5 * time.Second},
		{"both families", "nonMasqueradeCIDRs: [10.244.0.0/16, fc00::/7]", rules{direct: []string{"10.244.0.0/16", "fc00::/7"}}, 0},
		{"IPv6 link-local", "nonMasqueradeCIDRs: []\nmasqLinkLocalIPv6: true", rules{nil, false, true}, 0},
		{"its example", "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 172.16.0.0/12\n  - 192.168.0.0/16\nmasqLinkLocal: false\nresyncInterval: 60s", rules{direct: rfc1918}, time.Minute},
		{"nothing", "", rules{direct: rfc1918}, 0},

		// These cases follow from its decoder: encoding/json after YAML 1.1.
		{"empty list", "nonMasqueradeCIDRs: []", rules{}, 0},
		{"list of nothing", "nonMasqueradeCIDRs:\n#  - 10.0.0.0/8\n", rules{}, 0},
		{"null", `{"nonMasqueradeCIDRs": null, "cidrLimit": null, "masqLinkLocal": null, "masqLinkLocalIPv6": null}`, rules{}, 0},
		{"other case", `{"NonMasqueradeCIDRs":["10.0.0.0/8"],"MasqLinkLocal":true,"MASQLINKLOCALIPV6":true,"ResyncInterval":"1m0s","CidrLimit":1}`, rules{[]string{"10.0.0.0/8"}, true, true}, time.Minute},
		{"YAML 1.1", "masqLinkLocal: yes\nmasqLinkLocalIPv6: On", rules{rfc1918, true, true}, 0},
		{"twice", "nonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.0/8]", rules{direct: []string{"10.0.0.0/8"}}, 0},
		{"link-local by hand", "nonMasqueradeCIDRs: [169.254.0.0/16, fe80::/64]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true", rules{[]string{"169.254.0.0/16", "fe80::/64"}, true, true}, 0},
		{"everything", "nonMasqueradeCIDRs: [0.0.0.0/0]", rules{direct: []string{"0.0.0.0/0"}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := load(t, tt.text)
			tt.want.conforms(t, n.Policy)
			if n.ResyncInterval != tt.resync {
				t.Errorf("interval %v", n.ResyncInterval)
			}
		})
	}
	t.Run("no file", func(t *testing.T) { rules{direct: rfc1918}.conforms(t, Default().Policy) })
}

// Inputs that ip-masq-agent refuses: validateConfigTests, and its type Duration.
func TestRefusedByAgent(t *testing.T) {
	for _, text := range []string{
		"nonMasqueradeCIDRs: [abcdefg]", "nonMasqueradeCIDRs: [10.0.0.0/8, abcdefg]", "nonMasqueradeCIDRs: [10.256.0.0/16]",
		"nonMasqueradeCIDRs: [10.0.0.1/8]", "*", "{*", "resyncInterval: 60", "resyncInterval:", "masqLinkLocal: 1",
		"nonMasqueradeCIDRs: 10.0.0.0/8", "nonMasqueradeCIDRs: {}", "[]", "nonMasqueradeCIDRs:\n  -\n", `nonMasqueradeCIDRs: [""]`,
		"nonMasqueradeCIDRs: [192.168.0.0/24, , fd88:1234::/80]", `{"nonMasqueradeCIDRs": [null, "172.168.0.0/16"]}`,
		"nonMasqueradeCIDRs: " + many(65), "cidrLimit: sixty",
	} {
		if n, err := Parse("f", []byte(text)); err == nil {
			t.Errorf("%q is accepted as\n%s", text, n)
		}
	}
}

func TestConformanceOfSeveralFiles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  rules
	}{
		{"union", []string{
			`{"nonMasqueradeCIDRs": ["172.16.0.0/12", "10.0.0.0/8", "fc00::/7"], "masqLinkLocal": false, "masqLinkLocalIPv6": false}`,
			`{"nonMasqueradeCIDRs": ["1.0.0.0/8", "2.2.0.0/16"], "masqLinkLocal": true, "masqLinkLocalIPv6": false}`,
		}, rules{[]string{"172.16.0.0/12", "10.0.0.0/8", "fc00::/7", "1.0.0.0/8", "2.2.0.0/16"}, true, false}},
		{"in part, with one prefix twice", []string{
			"nonMasqueradeCIDRs:\n- 155.128.0.0/9\n- 10.0.0.0/8\nmasqLinkLocal: false\n",
			"masqLinkLocalIPv6: true\n",
			"nonMasqueradeCIDRs:\n- 10.240.0.0/16\n- 10.0.0.0/8\n- 180.132.128.0/18\n",
		}, rules{[]string{"155.128.0.0/9", "10.0.0.0/8", "10.240.0.0/16", "180.132.128.0/18"}, false, true}},
		{"its examples", []string{
			"nonMasqueradeCIDRs:\n- 155.128.0.0/9\n- 10.240.0.0/16\n- 180.132.128.0/18\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true",
			"nonMasqueradeCIDRs:\n- 1.0.0.0/8\n- 2.2.0.0/16\n- 3.3.3.0/24\nmasqLinkLocal: true",
		}, rules{[]string{"155.128.0.0/9", "10.240.0.0/16", "180.132.128.0/18", "1.0.0.0/8", "2.2.0.0/16", "3.3.3.0/24"}, true, true}},
		{"smallest prefixes", []string{"nonMasqueradeCIDRs: [10.128.0.192/26, 100.16.0.0/12]", "masqLinkLocal: true"}, rules{[]string{"10.128.0.192/26", "100.16.0.0/12"}, true, false}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.want.conforms(t, mustMerge(t, tt.files...).Policy) })
	}
}
