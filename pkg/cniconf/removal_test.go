package cniconf

import (
	"reflect"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestLoadForRemoval(t *testing.T) {
	got, err := LoadForRemoval([]byte(`{"cniVersion": "1.1.0", "name": "net", "type": 5,
		"ipam": {"type": "host-local", "subnet": "10.88.0.1/16"}, "stateDir": "/run/other",
		"mtu": "x", "mtu": 1, "snatAddresses": ["x"], "helpers": {"x": []}, "prevResult": [], "zz": 1,
		"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"masq-cni.dev/x": "y"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Conf{CNIVersion: "1.1.0", Name: "net", IPAMType: "host-local", StateDir: "/run/other"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadForRemovalFaults(t *testing.T) {
	_, err := LoadForRemoval([]byte(`{"name": "a b", "mtu": "x", "ipam": {"type": 5}, "stateDir": 1}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, "invalid configuration: 3 faults",
		`name: "a b" is not the name of a network; give letters, digits, "_", "." and "-", the first a letter or digit
ipam.type: 5 is a number; give the name of an IPAM plugin such as "host-local"
stateDir: 1 is a number; give an absolute path such as "/run/masq-cni", or remove the key`)
	_, err = LoadForRemoval([]byte(`{"name": "net", "ipam": 5}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "net": 1 fault`,
		`ipam: 5 is a number; give an object such as {"type": "host-local"}, or remove the key`)
	_, err = LoadForRemoval([]byte(`{"name": "net", "mtu": 1, "mtu": 2, "stateDir": "/a", "stateDir": "/b"}`))
	wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "net": 1 fault`, `stateDir is given twice; keep one of them`)
	_, err = LoadForRemoval([]byte(`{"name": "net", "cniVersion": "9.0.0"}`))
	wantError(t, err, types.ErrIncompatibleCNIVersion, `invalid configuration of network "net": unsupported cniVersion: 1 fault`,
		`cniVersion: "9.0.0" is not a supported version of CNI; give one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0`)
}
