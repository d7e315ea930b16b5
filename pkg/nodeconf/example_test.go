package nodeconf_test

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/conftree"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
)

func ExampleParse() {
	node, err := nodeconf.Parse("ip-masq-agent", []byte("nonMasqueradeCIDRs: [10.0.0.0/8]\nresyncInterval: 60s\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range []string{"10.1.2.3", "192.168.1.1", "169.254.169.254"} {
		a := netip.MustParseAddr(s)
		fmt.Println(a, node.Policy.DirectRanges(masq.FamilyOf(a)).Contains(a))
	}
	fmt.Println(node.ResyncInterval)
	// Output:
	// 10.1.2.3 true
	// 192.168.1.1 false
	// 169.254.169.254 true
	// 1m0s
}

func ExampleParse_faults() {
	_, err := nodeconf.Parse("ip-masq-agent", []byte("nonMasqueradeCIDRs:\n- 10.0.0.1/8\nmasqLinkLokal: true\n"))
	fmt.Println(err)
	if faults, ok := errors.AsType[conftree.Faults](err); ok {
		fmt.Println(faults[0].Line, faults[0].Key)
	}
	// Output:
	// ip-masq-agent:2:3: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
	// ip-masq-agent:3:1: "masqLinkLokal" is an unknown key; did you mean "masqLinkLocal"? If not, remove it
	// 2 nonMasqueradeCIDRs
}
