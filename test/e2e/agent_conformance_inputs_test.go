package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// agentRun is one run of an agent: the flags it was started with, and the
// configurations it was given one after another.
type agentRun struct {
	name   string
	flags  []string
	merged bool // the files ip-masq* of a directory, as Azure's ip-masq-agent-v2
	inputs []agentInput
}

// agentInput is a configuration, and the destinations that ip-masq-agent documents as
// direct for it.
type agentInput struct {
	name   string
	files  map[string]string // by name
	others map[string]string // files in the same directory that the agent does not read
	want   decision
	// instead is the documented decision of masqd where it differs from ip-masq-agent.
	instead *decision
}

// decision is the content of ip-masq-agent's chain.
type decision struct {
	direct                     []string // nonMasqueradeCIDRs
	masqLinkLocal4             bool
	masqLinkLocal6             bool
	noIPv6                     bool // no rules in ip6tables
	chain                      string
	sequential, reservedRanges bool // without --random-fully; with the defaults of --nomasq-all-reserved-ranges
}

var (
	rfc1918 = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}
	// NewMasqConfig of ip-masq-agent.go, and "Agent Flags" of its README.
	reservedRanges = []string{
		"100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	}
)

// returns lists the prefixes of a family for which the chain has a RETURN rule.
func (d decision) returns(f masq.Family) []netip.Prefix {
	all := slices.Clone(d.direct)
	if d.reservedRanges {
		all = append(all, reservedRanges...)
	}
	if !d.masqLinkLocal4 {
		all = append(all, "169.254.0.0/16")
	}
	if !d.masqLinkLocal6 {
		all = append(all, "fe80::/10")
	}
	var out []netip.Prefix
	for _, s := range all {
		if p := netip.MustParsePrefix(s); masq.FamilyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}

// isDirect reports whether a packet to a destination outside the node stays untranslated.
func (d decision) isDirect(dst netip.Addr) bool {
	f := masq.FamilyOf(dst)
	return d.noIPv6 && f == masq.IPv6 ||
		slices.ContainsFunc(d.returns(f), func(p netip.Prefix) bool { return p.Contains(dst) })
}

// rules returns input for iptables-restore that replaces the table. The rules are those
// of syncMasqRules, syncMasqRulesIPv6 and ensurePostroutingJump in ip-masq-agent.go.
func (d decision) rules(f masq.Family) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	if !d.noIPv6 || f == masq.IPv4 {
		chain := d.chain
		if chain == "" {
			chain = "IP-MASQ-AGENT"
		}
		fmt.Fprintf(&b, ":%s - [0:0]\n-A POSTROUTING -m addrtype ! --dst-type LOCAL -j %[1]s\n", chain)
		for _, p := range d.returns(f) {
			fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", chain, p)
		}
		// Recent versions add --to-ports 32768-65535, which iptables accepts only together
		// with a protocol. It does not affect which destinations are direct.
		fmt.Fprintf(&b, "-A %s -j MASQUERADE", chain)
		if !d.sequential {
			b.WriteString(" --random-fully")
		}
		b.WriteString("\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// one is a directory with the file that ip-masq-agent reads.
func one(text string) map[string]string { return map[string]string{"ip-masq-agent": text} }

// several is a directory with files that are merged.
func several(texts ...string) map[string]string {
	out := map[string]string{}
	for i, text := range texts {
		out[fmt.Sprintf("ip-masq-config-%d", i)] = text
	}
	return out
}

// list is a YAML flow sequence of n prefixes of length 24 within 60.0.0.0/8.
func list(n int) string { return "[" + strings.Join(prefixes24(n), ", ") + "]" }

func prefixes24(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("60.%d.%d.0/24", i, i))
	}
	return out
}

// agentRuns are the inputs of kubernetes-sigs/ip-masq-agent (README.md, agent-config/
// config, and syncConfigTests, TestSyncMasqRules and TestSyncMasqRulesIPv6 of
// cmd/ip-masq-agent/ip-masq-agent_test.go), of kubernetes/website (content/en/docs/
// tasks/administer-cluster/ip-masq-agent.md), and of Azure/ip-masq-agent-v2
// (examples/, syncConfigTests of cmd/ip-masq-agent-v2/ip-masq-agent_test.go,
// merge_test.go) and Azure/azure-container-networking (test/integration/manifests/
// ip-masq-agent), which uses two files for it.
var agentRuns = []agentRun{
	{name: "both families", flags: []string{"--enable-ipv6", "--masq-chain=IP-MASQ-AGENT"}, inputs: []agentInput{
		{name: "no file", want: decision{direct: rfc1918}},
		{name: "agent-config", files: one("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 172.16.0.0/12\n  - 192.168.0.0/16\ncidrLimit: 64\nmasqLinkLocal: false\nmasqLinkLocalIPv6: false\nresyncInterval: 60s\n"), want: decision{direct: rfc1918}},
		{name: "website, one prefix", files: one("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nresyncInterval: 60s\n"), want: decision{direct: []string{"10.0.0.0/8"}}},
		{name: "website, link-local", files: one("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nresyncInterval: 60s\nmasqLinkLocal: true\n"), want: decision{direct: []string{"10.0.0.0/8"}, masqLinkLocal4: true}},
		{name: "YAML, all keys", files: one("\nnonMasqueradeCIDRs:\n  - 172.16.0.0/12\n  - 10.0.0.0/8\ncidrLimit: 64\nmasqLinkLocal: true\nresyncInterval: 5s\n"), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8"}, masqLinkLocal4: true}},
		{name: "YAML, prefixes", files: one("\nnonMasqueradeCIDRs:\n  - 192.168.0.0/16\n"), want: decision{direct: []string{"192.168.0.0/16"}}},
		{name: "YAML, link-local", files: one("\nmasqLinkLocal: true\n"), want: decision{direct: rfc1918, masqLinkLocal4: true}},
		{name: "YAML, interval", files: one("\nresyncInterval: 5m\n"), want: decision{direct: rfc1918}},
		{name: "JSON, all keys", files: one("\n{\n  \"nonMasqueradeCIDRs\": [\"172.16.0.0/12\", \"10.0.0.0/8\"],\n  \"masqLinkLocal\": true,\n  \"resyncInterval\": \"5s\"\n}\n"), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8"}, masqLinkLocal4: true}},
		{name: "JSON, prefixes", files: one("\n{\n\t\"nonMasqueradeCIDRs\": [\"192.168.0.0/16\"]\n}\n"), want: decision{direct: []string{"192.168.0.0/16"}}},
		{name: "JSON, link-local", files: one("\n{\n\t\"masqLinkLocal\": true\n}\n"), want: decision{direct: rfc1918, masqLinkLocal4: true}},
		{name: "JSON, interval", files: one("\n{\n\t\"resyncInterval\": \"5m\"\n}\n"), want: decision{direct: rfc1918}},
		{name: "JSON, IPv6", files: one("\n\t\t{\n\t\t  \"nonMasqueradeCIDRs\": [\"172.16.0.0/12\", \"10.0.0.0/8\", \"fc00::/7\"],\n\t\t  \"masqLinkLocal\": true,\n\t\t  \"resyncInterval\": \"5s\"\n\t\t}\n\t\t"), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8", "fc00::/7"}, masqLinkLocal4: true}},
		{name: "rules, empty", files: one("nonMasqueradeCIDRs: []\n"), want: decision{}},
		{name: "rules, both families", files: one("nonMasqueradeCIDRs: [10.244.0.0/16, \"fc00::/7\"]\n"), want: decision{direct: []string{"10.244.0.0/16", "fc00::/7"}}},
		{name: "rules, IPv6 link-local", files: one("nonMasqueradeCIDRs: []\nmasqLinkLocalIPv6: true\n"), want: decision{masqLinkLocal6: true}},
		{name: "link-local direct by hand", files: one("nonMasqueradeCIDRs: [169.254.0.0/16, \"fe80::/64\"]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n"), want: decision{direct: []string{"169.254.0.0/16", "fe80::/64"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		{name: "everything direct", files: one("nonMasqueradeCIDRs: [0.0.0.0/0, \"::/0\"]\nmasqLinkLocal: true\n"), want: decision{direct: []string{"0.0.0.0/0", "::/0"}, masqLinkLocal4: true}},
		{name: "prefixes within prefixes", files: one("nonMasqueradeCIDRs: [10.0.0.0/8, 10.240.0.0/16, 10.0.0.0/8]\n"), want: decision{direct: []string{"10.0.0.0/8", "10.240.0.0/16"}}},
		{name: "as many as the limit", files: one("nonMasqueradeCIDRs: " + list(64) + "\n"), want: decision{direct: prefixes24(64)}},
		{name: "more with another limit", files: one("nonMasqueradeCIDRs: " + list(65) + "\ncidrLimit: 65\n"), want: decision{direct: prefixes24(65)}},
	}},
	{name: "all reserved ranges", flags: []string{"--enable-ipv6", "--nomasq-all-reserved-ranges"}, inputs: []agentInput{
		{name: "no file", want: decision{direct: rfc1918, reservedRanges: true}},
		{name: "a file without prefixes", files: one("masqLinkLocal: true\n"), want: decision{direct: rfc1918, masqLinkLocal4: true, reservedRanges: true}},
		{name: "a file with prefixes", files: one("nonMasqueradeCIDRs:\n  - 192.168.0.0/16\n"), want: decision{direct: []string{"192.168.0.0/16"}}},
		{name: "a file with none", files: one("nonMasqueradeCIDRs: []\n"), want: decision{}},
	}},
	{name: "IPv4 only", flags: []string{"--enable-ipv6=false", "--masq-chain=IP-MASQ", "--random-fully=false"}, inputs: []agentInput{
		{name: "agent-config", files: one("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 172.16.0.0/12\n  - 192.168.0.0/16\nmasqLinkLocal: false\nresyncInterval: 60s"), want: decision{direct: rfc1918, noIPv6: true, chain: "IP-MASQ", sequential: true}},
		{name: "IPv6 link-local", files: one("masqLinkLocalIPv6: true\n"), want: decision{direct: rfc1918, masqLinkLocal6: true, noIPv6: true, chain: "IP-MASQ", sequential: true}},
	}},
	// docs/node-configuration.md: IPv6 is masqueraded too. ip-masq-agent needs --enable-ipv6 for
	// that.
	{name: "no flags", inputs: []agentInput{
		{name: "agent-config", files: one("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 172.16.0.0/12\n  - 192.168.0.0/16\nmasqLinkLocal: false\nresyncInterval: 60s"), want: decision{direct: rfc1918, noIPv6: true}, instead: &decision{direct: rfc1918}},
	}},
	{name: "several files", flags: []string{"--enable-ipv6", "-v=2", "-resync-interval=60"}, merged: true, inputs: []agentInput{
		{name: "none of that name", others: map[string]string{"bad-prefix-config-0": `{"nonMasqueradeCIDRs": ["225.255.240.0/20"], "masqLinkLocal": false, "masqLinkLocalIPv6": false}`}, want: decision{direct: rfc1918}},
		{name: "one, all keys", files: several("\nnonMasqueradeCIDRs:\n  - 172.16.0.0/12\n  - 10.0.0.0/8\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n"), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		{name: "one, prefixes", files: several("\nnonMasqueradeCIDRs:\n  - 192.168.0.0/16\n"), want: decision{direct: []string{"192.168.0.0/16"}}},
		{name: "one, JSON with IPv6", files: several(`{"nonMasqueradeCIDRs": ["172.16.0.0/12", "10.0.0.0/8", "fc00::/7"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}`), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8", "fc00::/7"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		{name: "two", files: several(
			`{"nonMasqueradeCIDRs": ["172.16.0.0/12", "10.0.0.0/8", "fc00::/7"], "masqLinkLocal": false, "masqLinkLocalIPv6": false}`,
			`{"nonMasqueradeCIDRs": ["1.0.0.0/8", "2.2.0.0/16"], "masqLinkLocal": true, "masqLinkLocalIPv6": false}`,
		), want: decision{direct: []string{"172.16.0.0/12", "10.0.0.0/8", "fc00::/7", "1.0.0.0/8", "2.2.0.0/16"}, masqLinkLocal4: true}},
		{name: "two, one of another name", files: several(
			`{"nonMasqueradeCIDRs": ["111.254.0.0/15", "8.0.0.0/8"], "masqLinkLocal": false, "masqLinkLocalIPv6": false}`,
		), others: map[string]string{
			"bad-prefix-config-1": `{"nonMasqueradeCIDRs": ["4.4.0.0/8", "6.7.0.0/16"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}`,
		}, want: decision{direct: []string{"111.254.0.0/15", "8.0.0.0/8"}}},
		{name: "three, a prefix twice", files: several(
			"\nnonMasqueradeCIDRs:\n  - 155.128.0.0/9\n  - 10.0.0.0/8\nmasqLinkLocal: false\n",
			"\nmasqLinkLocalIPv6: true\n",
			"\nnonMasqueradeCIDRs:\n  - 10.240.0.0/16\n  - 10.0.0.0/8\n  - 180.132.128.0/18\n",
		), want: decision{direct: []string{"155.128.0.0/9", "10.0.0.0/8", "10.240.0.0/16", "180.132.128.0/18"}, masqLinkLocal6: true}},
		{name: "examples", files: map[string]string{
			"ip-masq-agent":       "nonMasqueradeCIDRs:\n  - 155.128.0.0/9\n  - 10.240.0.0/16\n  - 180.132.128.0/18\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true",
			"ip-masq-agent-cloud": "nonMasqueradeCIDRs:\n  - 1.0.0.0/8\n  - 2.2.0.0/16\n  - 3.3.3.0/24\nmasqLinkLocal: true",
		}, want: decision{direct: []string{"155.128.0.0/9", "10.240.0.0/16", "180.132.128.0/18", "1.0.0.0/8", "2.2.0.0/16", "3.3.3.0/24"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		{name: "merge, one prefix in both", files: several(
			"nonMasqueradeCIDRs: [155.128.0.0/9, 10.240.0.0/16, 180.132.128.0/18, 3.3.3.0/24]\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true\n",
			"nonMasqueradeCIDRs: [1.0.0.0/8, 2.2.0.0/16, 3.3.3.0/24]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: false\n",
		), want: decision{direct: []string{"155.128.0.0/9", "10.240.0.0/16", "180.132.128.0/18", "3.3.3.0/24", "1.0.0.0/8", "2.2.0.0/16"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		{name: "merge, keys missing", files: several("nonMasqueradeCIDRs: [10.128.0.192/26, 100.16.0.0/12]\n", "masqLinkLocal: true\n"), want: decision{direct: []string{"10.128.0.192/26", "100.16.0.0/12"}, masqLinkLocal4: true}},
		{name: "azure-container-networking", files: map[string]string{
			"ip-masq-agent":            "nonMasqueradeCIDRs:\n  - 192.168.0.0/16\n  - 100.64.0.0/10\n  - 10.244.0.0/16\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true",
			"ip-masq-agent-reconciled": "nonMasqueradeCIDRs:\n  - 192.168.0.0/16\n  - 100.64.0.0/10\n  - 10.244.0.0/16\nmasqLinkLocal: true",
		}, want: decision{direct: []string{"192.168.0.0/16", "100.64.0.0/10", "10.244.0.0/16"}, masqLinkLocal4: true, masqLinkLocal6: true}},
		// doc.go of pkg/nodeconf: the defaults apply until a file sets nonMasqueradeCIDRs,
		// as in kubernetes-sigs/ip-masq-agent. In Azure's version they do not.
		{name: "one, no prefixes", files: several("\nmasqLinkLocal: true\n"), want: decision{masqLinkLocal4: true}, instead: &decision{direct: rfc1918, masqLinkLocal4: true}},
		{name: "one, no prefixes, JSON", files: several(`{"masqLinkLocal": true}`), want: decision{masqLinkLocal4: true}, instead: &decision{direct: rfc1918, masqLinkLocal4: true}},
	}},
}
