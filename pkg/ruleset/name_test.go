package ruleset

import (
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// everything returns a table with every kind of set, chain and rule.
func everything(t *testing.T) Table {
	t.Helper()
	p := change(func(p *masq.Policy) {
		p.MSSClamp = clampTo(t, 1300)
		p.MSSClamps = clamps("198.51.100.0/24=172")
		for _, k := range masq.KernelHelperKinds() {
			p.Helpers = append(p.Helpers, masq.Helper{Name: k.Name, Ports: k.Ports()})
		}
	})
	return For([]masq.Attachment{attachment("a", p, "10.0.0.1", "fd00::1")}, Sources{Prefixes: prefixes("10.244.0.0/16"), Policy: p}, Egress{})
}

// TestSetNames parses the name of each set, and makes the set from the result.
func TestSetNames(t *testing.T) {
	kinds := map[SetKind]bool{}
	for _, s := range slices.Concat(everything(t).Sets, helped().table().Sets) {
		n, ok := ParseSetName(s.Name)
		kinds[n.Kind] = true
		made := n.Set()
		s.Elements = nil
		if !ok || made.Name != s.Name || made.Type != s.Type || made.Verdict != s.Verdict || made.Counter != s.Counter || made.Interval != s.Interval || made.MSS != s.MSS || made.Data != s.Data || made.Timeout != s.Timeout || made.Live != s.Live {
			t.Errorf("set %s parses to %+v, which gives %+v", s.Name, n, made)
		}
		if _, live := LiveSet(s.Name); live != s.Live {
			t.Errorf("set %s is live: %t, by its name: %t", s.Name, s.Live, live)
		}
	}
	if len(kinds) != len(setKinds) {
		t.Errorf("the tables have sets of %d kinds, not of %d", len(kinds), len(setKinds))
	}
	for _, name := range []string{"direct4-x", "never", "cidr4", "reserved"} {
		if _, live := LiveSet(name); live {
			t.Errorf("set %s counts as live", name)
		}
	}
	for _, name := range []string{"", "4", "policy", "policy5", "policy44", "policy-4", "policy4-", "policy4-x", "clamp4", "clamp4-", "clamp-1300", "helper6-", "links4", "links-x", "never6", "theirs", "mss4", "mss-x", "attached6"} {
		if n, ok := ParseSetName(name); ok {
			t.Errorf("%q parses to %+v", name, n)
		}
	}
}

func TestPolicyChainNames(t *testing.T) {
	p := masq.Default()
	if id, ok := ParsePolicyChain(PolicyChain(p)); !ok || id != p.ID() {
		t.Errorf("chain %s parses to %q, %t", PolicyChain(p), id, ok)
	}
	for _, name := range []string{"policy", "postrouting", "prerouting"} {
		if id, ok := ParsePolicyChain(name); ok {
			t.Errorf("chain %s parses to policy %q", name, id)
		}
	}
}

func TestObjectNames(t *testing.T) {
	for _, k := range masq.KernelHelperKinds() {
		for _, a := range k.Assign {
			if o := HelperObject(k, a); o.Helper() != k.Name {
				t.Errorf("object %s is of helper %q, not %q", o.Name, o.Helper(), k.Name)
			}
		}
	}
}

// TestRuleIDs parses IDs that were made for a known feature.
func TestRuleIDs(t *testing.T) {
	for id, want := range map[string]RuleRole{
		clampID("1300", "saddr", "6"):               {Feature: Feature{ClampSet, "1300"}},
		clampID("pmtu", "daddr", "4"):               {Feature: Feature{ClampSet, "pmtu"}},
		sourcesClampID("saddr", "4"):                {Feature: Feature{ClampSet, ""}, Sources: true},
		sourcesMSSClampID("reply", "6"):             {Feature: Feature{ClampSet, ""}, Sources: true},
		mssClampID("1234", "original", "4"):         {Policy: "1234"},
		mssClampID("node-12ab", "reply", "6"):       {Policy: "node-12ab"},
		helperID("h323-tcp", "4"):                   {Feature: Feature{HelperSet, "h323-tcp"}},
		helperID("netbios-ns-udp", "4"):             {Feature: Feature{HelperSet, "netbios-ns-udp"}},
		sourcesHelperID("h323-tcp", "1720", "4"):    {Feature: Feature{HelperSet, "h323-tcp"}, Sources: true},
		sourcesHelperID("netbios-ns-udp", "9", "6"): {Feature: Feature{HelperSet, "netbios-ns-udp"}, Sources: true},
		toExpectedID:        {Helpers: true},
		"expected/cidr4":    {Helpers: true, Sources: true},
		"postrouting/cidr6": {Sources: true},
		"prerouting/other":  {},
		"forward/clamp":     {},
	} {
		chain, _, _ := strings.Cut(id, "/")
		if got := RoleOf(chain, id); got != want {
			t.Errorf("rule %s has role %+v, not %+v", id, got, want)
		}
	}
	if RoleOf("forward", "postrouting/cidr4").Sources {
		t.Error("a rule of another chain counts as one of sourceCIDRs")
	}
}

// TestDependsOnPolicies compares the table of no policy with a table that has everything.
func TestDependsOnPolicies(t *testing.T) {
	always := For(nil, Sources{}, Egress{})
	sets, chains, rules := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range always.Sets {
		sets[s.Name] = true
	}
	for _, c := range always.Chains {
		chains[c.Name] = true
		for _, r := range c.Rules {
			rules[c.Name+" "+r.ID] = true
		}
	}
	table := everything(t)
	for _, s := range table.Sets {
		if n, _ := ParseSetName(s.Name); n.Kind != CIDRSet && SetDependsOnPolicies(s.Name) == sets[s.Name] {
			t.Errorf("set %s depends on policies: %t", s.Name, !sets[s.Name])
		}
	}
	for _, c := range table.Chains {
		if ChainDependsOnPolicies(c.Name) == chains[c.Name] {
			t.Errorf("chain %s depends on policies: %t", c.Name, !chains[c.Name])
		}
		for _, r := range c.Rules {
			if _, ofPolicy := ParsePolicyChain(c.Name); ofPolicy || RoleOf(c.Name, r.ID).Sources {
				continue // a policy's rules depend on their chain; sourceCIDRs are no attachments
			}
			if RuleDependsOnPolicies(c.Name, r.ID) == rules[c.Name+" "+r.ID] {
				t.Errorf("rule %s of chain %s depends on policies: %t", r.ID, c.Name, !rules[c.Name+" "+r.ID])
			}
		}
	}
}
