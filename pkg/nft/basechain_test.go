package nft

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestOtherBaseChains finds the chains of other tables that packets of containers pass,
// with their rules that drop. It finds neither table inet masq nor chains that the packets
// do not pass.
func TestOtherBaseChains(t *testing.T) {
	c := kernel(t)
	is := func(what string, want ...BaseChain) {
		t.Helper()
		got, err := c.OtherBaseChains()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v, not %+v", what, got, want)
		}
	}
	is("nothing")
	nftables(t, "", `
table inet masq { chain forward { type filter hook forward priority -150; policy drop; drop; }; }
table ip calm { chain forward { type filter hook forward priority 0; policy accept; accept; }; }
table ip elsewhere { chain input { type filter hook input priority 0; policy drop; drop; }; }
table inet asleep { flags dormant; chain forward { type filter hook forward priority 0; policy drop; drop; }; }
table arp a { chain in { type filter hook input priority 0; policy drop; }; }`)
	is("none that can drop")
	nftables(t, "", `
table ip filter {
	chain DOCKER { ip saddr 10.0.0.1 drop; }
	chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER; jump DOCKER; }
	chain unused { drop; drop; }
}
table ip6 raw { chain pre { type filter hook prerouting priority -300; ip6 saddr ::1 drop; }; }
table inet firewalld {
	chain loop { jump deeper; }
	chain deeper { reject with icmpx type admin-prohibited; }
	chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state invalid drop; goto loop; }
}
table bridge b { chain in { type filter hook input priority -200; policy drop; }; }
table netdev n { chain ingress { type filter hook ingress device lo priority 5; policy drop; }; }`)
	is("those that can",
		BaseChain{"bridge", "b", "in", "input", -200, true, 0, ""},
		BaseChain{"inet", "firewalld", "filter_FORWARD", "forward", 10, false, 2, "firewalld"},
		BaseChain{"ip", "filter", "FORWARD", "forward", 0, true, 1, AnyIptables},
		BaseChain{"ip6", "raw", "pre", "prerouting", -300, false, 1, ""},
		BaseChain{"netdev", "n", "ingress", "ingress", 5, true, 0, ""})
}

// TestOtherRuleListedTwice: a rule of another table that the kernel lists twice counts once.
func TestOtherRuleListedTwice(t *testing.T) {
	rule, err := addRule("forward", ruleset.Rule{ID: "1", Text: "counter drop"}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	rule.body.Uint64(unix.NFTA_RULE_HANDLE, 7)
	chain := addChain(ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Type: "filter", Point: "forward", Priority: "mangle"}})
	body := func(o op) []byte { return append(header(unix.NFPROTO_INET, 0), o.within("other").body...) }
	c := scripted(func(r *netlinktest.Request) {
		switch r.Type {
		case messageType(unix.NFT_MSG_GETTABLE):
		case messageType(unix.NFT_MSG_GETCHAIN):
			r.Reply(messageType(unix.NFT_MSG_NEWCHAIN), 0, body(chain))
		default:
			r.Reply(messageType(unix.NFT_MSG_NEWRULE), 0, body(rule))
			r.Reply(messageType(unix.NFT_MSG_NEWRULE), 0, body(rule))
		}
		r.Done(0)
	})
	if all, err := c.OtherBaseChains(); err != nil || len(all) != 1 || all[0].Rules != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}
