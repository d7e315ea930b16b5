package cniconf_test

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
)

func ExampleLoad() {
	stdin := `{"cniVersion": "1.1.0", "name": "demo", "type": "masq",
		"ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}, "mssClamp": "off"}`
	conf, err := cniconf.Load([]byte(stdin), "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0")
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := conf.PolicyFor([]netip.Prefix{netip.MustParsePrefix("10.88.0.7/16")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conf.Name, conf.Pod.Namespace, conf.Pod.Name, policy.MSSClamp, policy.Subnets)
	// Output: demo shop cart-0 off [10.88.0.0/16]
}

func ExampleLoad_faults() {
	stdin := `{"cniVersion": "1.1.0", "name": "demo", "type": "masq",
		"toPorts": "30000-20000", "nonMasqueradeCIDR": [], "masqueradeCIDRs": ["10.0.0.1/8"]}`
	_, err := cniconf.Load([]byte(stdin), "")
	if e, ok := errors.AsType[*types.Error](err); ok {
		fmt.Println(e.Code, e.Msg)
		fmt.Println(e.Details)
	}
	// Output:
	// 7 invalid configuration of network "demo": 3 faults
	// line 2, column 14: toPorts: "30000-20000" is not valid: "30000-20000" is reversed: 30000 is above 20000; give FIRST-LAST within 1024-65535, several separated by commas
	// line 2, column 29: "nonMasqueradeCIDR" is an unknown key; did you mean "nonMasqueradeCIDRs"? If not, remove it
	// line 2, column 74: masqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
}
