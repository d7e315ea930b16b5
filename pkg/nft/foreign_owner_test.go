package nft

import "testing"

// TestChainOwner: the more special name decides.
func TestChainOwner(t *testing.T) {
	for _, c := range []struct{ family, table, chain, want string }{
		{"inet", "firewalld", "filter_FORWARD", "firewalld"},
		{"ip", "filter", "DOCKER-USER", "Docker"},
		{"ip", "filter", "KUBE-ROUTER-FORWARD", "kube-router"},
		{"ip", "nat", "KUBE-POSTROUTING", "kube-proxy or kubelet"},
		{"ip6", "filter", "FORWARD", AnyIptables},
		{"ip", "filter", "forward", ""},
		{"inet", "filter", "FORWARD", ""},
		{"ip", "nat", "CNI-1234", "a CNI plugin"},
	} {
		if got := ChainOwner(c.family, c.table, c.chain); got != c.want {
			t.Errorf("%s %s %s: %q, not %q", c.family, c.table, c.chain, got, c.want)
		}
	}
}
