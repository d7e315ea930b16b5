package metrics

import (
	"errors"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/nft"
)

// The sums do not decrease when a rule is recreated or removed.
func TestDropSumsNeverDecrease(t *testing.T) {
	rule := func(chain, id string, n uint64) nft.CountedRule {
		return nft.CountedRule{Chain: chain, ID: id, Counts: true, Counter: nft.Counter{Packets: n}}
	}
	var rules []nft.CountedRule
	var fail error
	d := dropCounter{rules: func() ([]nft.CountedRule, error) { return rules, fail }}
	want := func(name string, spoofed, invalid, noEgress uint64) {
		t.Helper()
		got, err := d.total()
		if err != nil || got["spoofed"] != spoofed || got["invalid"] != invalid || got["no-egress-address"] != noEgress || got["expected"]+got["no-port"] != 0 || got["other-link"] != 0 || got["loopback"] != 0 || len(got) != 7 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	want("no table", 0, 0, 0)
	rules = []nft.CountedRule{
		rule("sources", "sources/spoofed", 4), rule("invalid", "invalid/drop4", 1), rule("invalid", "invalid/cidr6", 2),
		rule("policy-a", "policy/no-egress4", 5), rule("policy-b", "policy/no-egress4", 6), rule("policy-a", "policy/direct4", 100),
	}
	want("counters of an earlier masqd", 4, 3, 11)
	want("no change", 4, 3, 11)
	rules[0].Packets = 6
	want("two more packets", 6, 3, 11)
	rules = []nft.CountedRule{rule("sources", "sources/spoofed", 1), rule("policy-b", "policy/no-egress4", 7)}
	want("one rule recreated, one removed", 7, 3, 12)
	fail = errors.New("netlink error")
	if _, err := d.total(); err == nil {
		t.Error("no error although the rules cannot be read")
	}
	fail, rules = nil, nil
	want("all removed", 7, 3, 12)
}
