package nft

import (
	"slices"
	"testing"
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
		BaseChain{"bridge", "b", "in", "input", -200, true, 0},
		BaseChain{"inet", "firewalld", "filter_FORWARD", "forward", 10, false, 2},
		BaseChain{"ip", "filter", "FORWARD", "forward", 0, true, 1},
		BaseChain{"ip6", "raw", "pre", "prerouting", -300, false, 1},
		BaseChain{"netdev", "n", "ingress", "ingress", 5, true, 0})
}
