package cniconf

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestPrevResult(t *testing.T) {
	const list = `{"ips": [{"version": "4", "address": "10.1.2.3/24", "interface": 0}], "interfaces": [{"name": "eth0", "sandbox": "/ns"}]}`
	for version, result := range map[string]string{
		"0.1.0": `{"ip4": {"ip": "10.1.2.3/24"}}`,
		"0.2.0": `{"cniVersion": "0.2.0", "ip4": {"ip": "10.1.2.3/24"}}`,
		"0.3.0": list,
		"0.3.1": `{"cniVersion": "", ` + list[1:],
		"0.4.0": `{"cniVersion": "0.4.0", ` + list[1:],
		"1.0.0": list,
		"1.1.0": `{"cniVersion": null, ` + list[1:],
	} {
		c, err := Load([]byte(`{"name": "n", "cniVersion": "`+version+`", "prevResult": `+result+`}`), "")
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if r := c.PrevResult; !c.Chained() || r.CNIVersion != "1.1.0" || len(r.IPs) != 1 || r.IPs[0].Address.String() != "10.1.2.3/24" {
			t.Errorf("%s: got %+v", version, r)
		}
	}
	// Of a repeated key the last value counts, as for encoding/json.
	load(t, `"prevResult": {"cniVersion": "1.1.0", "cniVersion": ""}`)
}

// CHECK and DEL have a result in main mode too. The IPAM plugin decides about the mode.
func TestChained(t *testing.T) {
	const prev = `"prevResult": {"cniVersion": "1.1.0"}`
	for members, want := range map[string]bool{
		"":                                  false,
		prev:                                true,
		prev + `, "ipam": {}`:               true,
		prev + `, "ipam": {"type": "dhcp"}`: false,
		`"ipam": {"type": "dhcp"}`:          false,
	} {
		if got := load(t, members).Chained(); got != want {
			t.Errorf("%s: chained is %v, want %v", members, got, want)
		}
	}
}

func TestPrevResultFaults(t *testing.T) {
	const remedy = "; correct the plugin that gave this result"
	fault := func(result, wrong string) string {
		return `prevResult: ` + result + ` is not a result of version 1.1.0: ` + wrong + remedy
	}
	checkFaults(t, []faulty{
		{"type", `"prevResult": []`, `prevResult: "[]" is a list` + remedy},
		{"null in ips", `"prevResult": {"ips": [null]}`, fault(`"{\"ips\":[null]}"`, `"interfaces, ips or routes contain null"`)},
		{"null in interfaces", `"prevResult": {"interfaces": [null]}`, fault(`"{\"interfaces\":[null]}"`, `"interfaces, ips or routes contain null"`)},
		{"null in routes", `"prevResult": {"routes": [null]}`, fault(`"{\"routes\":[null]}"`, `"interfaces, ips or routes contain null"`)},
		{"no address", `"prevResult": {"ips": [{}]}`, fault(`"{\"ips\":[{}]}"`, `"ips[0] has no address"`)},
		{"address", `"prevResult": {"ips": [{"address": "\u001b"}]}`, fault(`"{\"ips\":[{\"address\":\"\\x1b\"}]}"`, `"invalid CIDR address: \x1b"`)},
		{"interface", `"prevResult": {"ips": [{"address": "10.0.0.1/8", "interface": 0}]}`, fault(`"{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":0}]}"`, `"ips[0].interface is 0, which is not an index of interfaces"`)},
		{"version", `"prevResult": {"cniVersion": "0.4.0"}`, fault(`"{\"cniVersion\":\"0.4.0\"}"`, `"result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\""`)},
	})
}

// The conversions of package cni panic on null.
func TestPrevResultNullBefore100(t *testing.T) {
	for _, list := range []string{"ips", "interfaces", "routes"} {
		_, err := Load([]byte(`{"name": "n", "cniVersion": "0.4.0", "prevResult": {"`+list+`": [null]}}`), "")
		wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "n": 1 fault`,
			`prevResult: "{\"`+list+`\":[null]}" is not a result of version 0.4.0: "interfaces, ips or routes contain null"; correct the plugin that gave this result`)
	}
}

func TestPrevResultLong(t *testing.T) {
	_, err := Load([]byte(network(`"prevResult": {"ips": "`+strings.Repeat("x", 1<<20)+`"}`)), "")
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("the message is %d bytes long", len(err.Error()))
	}
}
