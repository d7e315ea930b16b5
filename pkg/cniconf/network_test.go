package cniconf

import (
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestVersion(t *testing.T) {
	for stdin, want := range map[string]string{
		`{"name": "n"}`:                        "0.1.0",
		`{"name": "n", "cniVersion": ""}`:      "0.1.0",
		`{"name": "n", "cniVersion": null}`:    "0.1.0",
		`{"name": "n", "cniVersion": "0.1.0"}`: "0.1.0",
		`{"name": "n", "cniVersion": "0.2.0"}`: "0.2.0",
		`{"name": "n", "cniVersion": "0.3.0"}`: "0.3.0",
		`{"name": "n", "cniVersion": "0.3.1"}`: "0.3.1",
		`{"name": "n", "cniVersion": "0.4.0"}`: "0.4.0",
		`{"name": "n", "cniVersion": "1.0.0"}`: "1.0.0",
		`{"name": "n", "cniVersion": "1.1.0"}`: "1.1.0",
	} {
		c, err := Load([]byte(stdin), "")
		if err != nil {
			t.Errorf("%s: %v", stdin, err)
		} else if c.CNIVersion != want {
			t.Errorf("%s: got version %s, want %s", stdin, c.CNIVersion, want)
		}
	}
}

// An unknown version is the only fault, because the meaning of its keys is unknown too.
func TestVersionUnknown(t *testing.T) {
	_, err := Load([]byte(`{"name": "n", "cniVersion": "2.0.0", "mtu": "x", "newKey": 1, "prevResult": 5}`), "x")
	wantError(t, err, types.ErrIncompatibleCNIVersion, `invalid configuration of network "n": unsupported cniVersion: 1 fault`,
		`cniVersion: "2.0.0" is not a supported version of CNI; give one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0`)
}

func TestVersionType(t *testing.T) {
	_, err := Load([]byte(`{"name": "n", "cniVersion": 1.1}`), "")
	wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "n": 1 fault`,
		`cniVersion: 1.1 is a number; give a version such as "1.1.0"`)
}

func TestName(t *testing.T) {
	const remedy = `; give letters, digits, "_", "." and "-", the first a letter or digit`
	for stdin, want := range map[string]string{
		`{}`:                          `name is missing` + remedy,
		`{"name": null}`:              `name is missing` + remedy,
		`{"name": ""}`:                `name: "" is not the name of a network` + remedy,
		`{"name": "../x"}`:            `name: "../x" is not the name of a network` + remedy,
		`{"name": "a\u001b[2J\nb"}`:   `name: "a\x1b[2J\nb" is not the name of a network` + remedy,
		`{"name": ["net"]}`:           `name: "[\"net\"]" is a list` + remedy,
		`{"name": "-a", "type": "x"}`: `name: "-a" is not the name of a network` + remedy,
	} {
		_, err := Load([]byte(stdin), "")
		wantError(t, err, types.ErrInvalidNetworkConfig, "invalid configuration: 1 fault", want)
	}
}
