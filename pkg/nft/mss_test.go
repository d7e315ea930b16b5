package nft

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// narrowed returns a node's policy with an MSS for a prefix.
func narrowed(mss uint16) masq.Policy {
	p := masq.Default()
	p.Node = true
	p.MSSClamps = masq.MSSClamps{netip.MustParsePrefix("198.51.100.0/24"): mss}
	return p
}

// TestMSSOfTheNodesPolicy: when only the MSS changes, elements of the map change and no other
// object of the table does.
func TestMSSOfTheNodesPolicy(t *testing.T) {
	c := kernel(t)
	of := func(mss uint16) ruleset.Table {
		return ruleset.For([]masq.Attachment{attachment("a", narrowed(mss), "10.88.0.5")}, ruleset.Sources{}, everyEgress)
	}
	if _, err := c.Apply(of(172)); err != nil {
		t.Fatal(err)
	}
	changes, err := c.Apply(of(300))
	if err != nil || len(changes) != 1 || changes[0].Kind != KindElement {
		t.Errorf("%v, %v", changes, err)
	}
	listing := nftables(t, "", "list", "map", "inet", "masq", "mss4-"+narrowed(0).ID())
	if !strings.Contains(listing, "198.51.100.0/24 : 300") || strings.Contains(listing, "172") {
		t.Error(listing)
	}
}

// TestMSSIsCollected: the last attachment of a policy takes the policy's maps, sets and rules
// with it, also if local clamps were deleted after its ADD.
func TestMSSIsCollected(t *testing.T) {
	local := masq.MSSClamps{netip.MustParsePrefix("203.0.113.0/24"): 100}
	for name, p := range map[string]masq.Policy{
		"node": narrowed(172), "network": func() masq.Policy { p := narrowed(172); p.Node = false; return p }(),
		"local": func() masq.Policy { p := masq.Default(); p.LocalMSSClamps = local; return p }(),
	} {
		for _, byIdentity := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				c := kernel(t)
				other := attachment("other", directPolicy(), "10.88.0.9")
				a, b := attachment("a", p, "10.88.0.5", "fd00:88::5"), attachment("b", p, "10.88.0.6")
				all := func() ([]masq.Attachment, error) { return []masq.Attachment{other}, nil }
				for _, x := range []masq.Attachment{other, a, b} {
					if err := c.Add(x, hasAll, all, nil); err != nil {
						t.Fatal(err)
					}
					if changes, err := c.Check(x, hasAll); err != nil || len(changes) > 0 {
						t.Fatal(changes, err)
					}
				}
				want := ruleset.For([]masq.Attachment{other, a, b}, ruleset.Sources{}, everyEgress)
				if changes, err := c.Drift(want, ruleset.Table{}); err != nil || len(changes) > 0 {
					t.Fatal(changes, err)
				}
				for _, x := range []masq.Attachment{a, b} {
					later := *x.Policy
					later.LocalMSSClamps = nil
					x.Policy = &later
					if byIdentity {
						x.Addresses = nil
					}
					if err := c.Remove(x, hasAll); err != nil {
						t.Fatal(err)
					}
				}
				want = ruleset.For([]masq.Attachment{other}, ruleset.Sources{}, everyEgress)
				if changes, err := c.Drift(want, ruleset.Table{}); err != nil || len(changes) > 0 {
					t.Error(changes, err)
				}
			})
		}
	}
}

// TestMSSOfSources: sourceCIDRs have the clamps of the node's policy, and keep them when the
// last attachment of the policy is removed.
func TestMSSOfSources(t *testing.T) {
	c := kernel(t)
	p := narrowed(172)
	sources := ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Policy: p}
	a := attachment("a", p, "10.88.0.5")
	if _, err := c.Apply(ruleset.For([]masq.Attachment{a}, sources, everyEgress)); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(a, hasAll); err != nil {
		t.Fatal(err)
	}
	if changes, err := c.Drift(ruleset.For(nil, sources, everyEgress), ruleset.Table{}); err != nil || len(changes) > 0 {
		t.Error(changes, err)
	}
	rules, err := c.CountedRules()
	if err != nil || !slices.ContainsFunc(rules, func(r CountedRule) bool { return r.ID == "clamp/cidr-mss-original4" }) {
		t.Error(rules, err)
	}
}

// TestSyncOfMSSClamps: SyncStructure adds and removes the clamps of attachments, as masqd does
// when the configuration or the local clamps change.
func TestSyncOfMSSClamps(t *testing.T) {
	c := kernel(t)
	plain := masq.Default()
	local := plain
	local.LocalMSSClamps = masq.MSSClamps{netip.MustParsePrefix("203.0.113.0/24"): 100}
	of := func(p masq.Policy) ruleset.Table {
		return ruleset.For([]masq.Attachment{attachment("a", p, "10.88.0.5"), attachment("b", p, "10.88.0.6", "fd00:88::6")}, ruleset.Sources{}, everyEgress)
	}
	if _, err := c.Apply(of(plain)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []masq.Policy{local, plain, local} {
		generation, err := c.Generation()
		if err != nil {
			t.Fatal(err)
		}
		table := of(p)
		if _, err := c.SyncStructure(Desired{Table: table.Skeleton(), AsOf: generation, Complete: func() ruleset.Table { return table }}); err != nil {
			t.Fatal(err)
		}
		if changes, err := c.Drift(table, ruleset.Table{}); err != nil || len(changes) > 0 {
			t.Error(changes, err)
		}
	}
}
