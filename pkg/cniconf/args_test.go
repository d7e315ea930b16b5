package cniconf

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestPod(t *testing.T) {
	for args, want := range map[string]masq.Pod{
		"": {},
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_INFRA_CONTAINER_ID=0a;K8S_POD_UID=u-1": {Namespace: "shop", Name: "cart-0", UID: "u-1"},
		"IP=10.0.0.1;OTHER=a=b;K8S_POD_NAME=x;":    {Name: "x"},
		"K8S_POD_NAME=x;K8S_POD_NAME=y":            {Name: "y"},
		"K8S_POD_NAME=" + strings.Repeat("n", 253): {Name: strings.Repeat("n", 253)},
		"K8S_POD_NAME=" + strings.Repeat("n", 254): {Name: strings.Repeat("n", 253)},
		// 126 characters of two bytes, and half of one.
		"K8S_POD_NAMESPACE=" + strings.Repeat("ä", 200) + ";K8S_POD_UID=" + strings.Repeat("u", 100000): {Namespace: strings.Repeat("ä", 126), UID: strings.Repeat("u", 253)},
		"K8S_POD_NAME=Käse brot": {Name: "Käse brot"},
		"K8S_POD_NAME=":          {},
	} {
		c, err := Load([]byte(contract), args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		} else if c.Pod != want {
			t.Errorf("%q: got %+v, want %+v", args, c.Pod, want)
		}
	}
}

func TestPodFaults(t *testing.T) {
	for args, want := range map[string]string{
		"A=1;K8S_POD_NAME;B=2":   `CNI_ARGS: "K8S_POD_NAME" is not a pair; give KEY=VALUE, separated by semicolons`,
		"=x":                     `CNI_ARGS: "=x" is not a pair; give KEY=VALUE, separated by semicolons`,
		"K8S_POD_NAME=a\x1b[2J":  `CNI_ARGS.K8S_POD_NAME: "a\x1b[2J" has characters that cannot be printed; give the name as in Kubernetes`,
		"K8S_POD_NAMESPACE=a\nb": `CNI_ARGS.K8S_POD_NAMESPACE: "a\nb" has characters that cannot be printed; give the name as in Kubernetes`,
		"K8S_POD_UID=\u202e":     `CNI_ARGS.K8S_POD_UID: "\u202e" has characters that cannot be printed; give the name as in Kubernetes`,
		"K8S_POD_UID=\xff":       `CNI_ARGS.K8S_POD_UID: "\xff" has characters that cannot be printed; give the name as in Kubernetes`,
		// The part of the name that is cut off is checked too.
		"K8S_POD_NAME=" + strings.Repeat("n", 254) + "\x00": `CNI_ARGS.K8S_POD_NAME: "` + strings.Repeat("n", 120) + `..." has characters that cannot be printed; give the name as in Kubernetes`,
	} {
		_, err := Load([]byte(contract), args)
		wantError(t, err, types.ErrInvalidEnvironmentVariables, "invalid environment variable CNI_ARGS: 1 fault", want)
	}
}

// Faults of the configuration and of CNI_ARGS are reported together, with the code of the
// configuration.
func TestPodAndNetworkFaults(t *testing.T) {
	_, err := Load([]byte(network(`"mtu": 1, "zz": 1`)), "x;y")
	wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "net": 4 faults`,
		`mtu: 1 is below 68, the minimum of IPv4; give 0 (the MTU of the uplink) or 68-65535
"zz" is an unknown key; remove it
CNI_ARGS: "x" is not a pair; give KEY=VALUE, separated by semicolons
CNI_ARGS: "y" is not a pair; give KEY=VALUE, separated by semicolons`)
}
