package cniconf

import (
	"reflect"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// A refusal has the faults of the annotations only. Without a valid network, directory or pod
// there is no refusal.
func TestLoadRefusal(t *testing.T) {
	const (
		pod    = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"
		head   = `"cniVersion": "1.1.0", "name": "net", "stateDir": "/run/x", `
		faulty = `"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"masq-cni.dev/egress": "x"}}`
	)
	want := Refusal{
		Network: "net", StateDir: "/run/x", Pod: masq.Pod{Namespace: "shop", Name: "cart"},
		Faults: []string{`masq-cni.dev/egress: "x" is not a kind of egress; give "direct", or remove the annotation`},
	}
	for _, more := range []string{"", `"mtu": 1, "zz": 2, "ipam": 3, "toPorts": "x", `} {
		if got, found := LoadRefusal([]byte("{"+head+more+faulty+"}"), pod); !found || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %t", more, got, found)
		}
	}
	for _, tt := range []struct{ name, text, args string }{
		{"no fault", "{" + head + `"mtu": 1}`, pod},
		{"not JSON", "{" + head + faulty, pod},
		{"version", "{" + strings.Replace(head, "1.1.0", "9.0.0", 1) + faulty + "}", pod},
		{"name", "{" + strings.Replace(head, "net", "a b", 1) + faulty + "}", pod},
		{"directory", "{" + strings.Replace(head, "/run/x", "x", 1) + faulty + "}", pod},
		{"two directories", "{" + head + `"stateDir": "/run/y", ` + faulty + "}", pod},
		{"pod", "{" + head + faulty + "}", "K8S_POD_NAME=\x1b"},
	} {
		if got, found := LoadRefusal([]byte(tt.text), tt.args); found {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	many := strings.Replace(faulty, `"masq-cni.dev/egress"`, `"masq-cni.dev/1": "", "masq-cni.dev/2": "", "masq-cni.dev/3": "", "masq-cni.dev/4": "", "masq-cni.dev/5": "", "masq-cni.dev/6": "", "masq-cni.dev/7": "", "masq-cni.dev/8": "", "masq-cni.dev/egress"`, 1)
	if got, _ := LoadRefusal([]byte("{"+head+many+"}"), pod); len(got.Faults) != maxRefusalFaults {
		t.Errorf("got %d faults, want %d", len(got.Faults), maxRefusalFaults)
	}
}
