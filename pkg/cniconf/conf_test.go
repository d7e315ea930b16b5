package cniconf

import (
	"errors"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// contract is the configuration of the documentation, as libcni passes it.
const contract = `{"cniVersion": "1.1.0", "name": "demo", "type": "masq",
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]]},
 "mtu": 0,
 "ipMasq": true, "ipMasqBackend": "nftables",
 "nonMasqueradeCIDRs": ["10.0.0.0/8"], "masqueradeCIDRs": ["10.9.0.0/16"],
 "masqLinkLocal": false, "masqLinkLocalIPv6": false,
 "snatAddresses": [], "toPorts": "", "randomFully": true,
 "mssClamp": "pmtu",
 "helpers": {"ftp": [21]},
 "spoofCheck": true, "dropInvalid": true, "acceptOtherLinks": false,
 "stateDir": "/run/masq-cni",
 "capabilities": {"io.kubernetes.cri.pod-annotations": true}}`

// network returns a valid configuration with further keys.
func network(members string) string {
	if members != "" {
		members = ", " + members
	}
	return `{"cniVersion": "1.1.0", "name": "net", "type": "masq"` + members + `}`
}

func load(t *testing.T, members string) *Conf {
	t.Helper()
	c, err := Load([]byte(network(members)), "")
	if err != nil {
		t.Fatalf("Load(%s): %v", members, err)
	}
	return c
}

// places are the lines and columns of faults, which TestPlaces checks.
var places = regexp.MustCompile(`(?m)^line \d+, column \d+: |, first on line \d+, column \d+|, on line \d+, column \d+`)

// wantError asserts an error, except for the places of its faults.
func wantError(t *testing.T, err error, code uint, msg, details string) {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want a *types.Error", err, err)
	}
	if got := places.ReplaceAllString(e.Details, ""); e.Code != code || e.Msg != msg || got != details {
		t.Errorf("code %d, msg %s, want %d, %s\ngot\n%s\nwant\n%s", e.Code, e.Msg, code, msg, got, details)
	}
}

// faulty is a network with faults, and the exact lines that report them.
type faulty struct {
	name    string
	members string
	want    string
}

func checkFaults(t *testing.T, tests []faulty) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load([]byte(network(tt.members)), "")
			count := "1 fault"
			if n := strings.Count(tt.want, "\n") + 1; n > 1 {
				count = string(rune('0'+n)) + " faults"
			}
			wantError(t, err, types.ErrInvalidNetworkConfig, `invalid configuration of network "net": `+count, tt.want)
		})
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestLoadContract(t *testing.T) {
	got, err := Load([]byte(contract), "")
	if err != nil {
		t.Fatal(err)
	}
	want := &Conf{
		CNIVersion:  "1.1.0",
		Name:        "demo",
		IPAMType:    "host-local",
		IPAMSubnets: prefixes("10.88.0.0/16", "fd00:88::/64"),
		IPMasq:      true,
		Policy: masq.Policy{
			NonMasquerade: prefixes("10.0.0.0/8"),
			Masquerade:    prefixes("10.9.0.0/16"),
			RandomFully:   true,
			MSSClamp:      masq.ClampPMTU,
			Helpers:       []masq.Helper{{Name: "ftp", Ports: []uint16{21}}},
			DropInvalid:   true,
		},
		PolicyNamed:     true,
		SpoofCheck:      true,
		HelpersRequired: true,
		StateDir:        "/run/masq-cni",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Chained() {
		t.Error("main mode is reported as chained")
	}
}

func TestLoadDefaults(t *testing.T) {
	got := load(t, "")
	want := &Conf{
		CNIVersion:      "1.1.0",
		Name:            "net",
		IPMasq:          true,
		Policy:          masq.Default(),
		SpoofCheck:      true,
		HelpersRequired: true,
		StateDir:        "/run/masq-cni",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Each key has another value than its default.
func TestLoadWithoutDefaults(t *testing.T) {
	got := load(t, `"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]]},
		"mtu": 1400, "ipMasq": false, "ipMasqBackend": "",
		"masqLinkLocal": true, "masqLinkLocalIPv6": true, "snatAddresses": ["2001:db8::1", "192.0.2.1", "192.0.2.2"],
		"toPorts": "20000-29999, 40000", "randomFully": false, "mssClamp": 1200,
		"helpers": {"tftp": [6969, 69], "ftp": [], "sip": [5060]},
		"helpersRequired": false, "spoofCheck": false, "dropInvalid": false, "stateDir": "/var/lib/masq"`)
	clamp, err := masq.ClampTo(1200)
	if err != nil {
		t.Fatal(err)
	}
	want := &Conf{
		CNIVersion: "1.1.0", Name: "net", IPAMType: "host-local",
		IPAMSubnets: prefixes("10.88.0.0/16", "fd00:88::/64"),
		MTU:         1400,
		Policy: masq.Policy{
			LinkLocal4: true, LinkLocal6: true,
			SNATAddresses: addrs("2001:db8::1", "192.0.2.1", "192.0.2.2"),
			ToPorts:       []masq.PortRange{{First: 20000, Last: 29999}, {First: 40000, Last: 40000}},
			MSSClamp:      clamp,
			Helpers: []masq.Helper{
				{Name: "ftp", Ports: []uint16{21}},
				{Name: "sip", Ports: []uint16{5060}},
				{Name: "tftp", Ports: []uint16{69, 6969}},
			},
		},
		PolicyNamed: true,
		StateDir:    "/var/lib/masq",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPolicyNamed(t *testing.T) {
	for members, want := range map[string]bool{
		``:                            false,
		`"ipMasq": true, "mtu": 1500`: false,
		`"ipMasqBackend": "nftables", "spoofCheck": false, "stateDir": "/run/x"`:                    false,
		`"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"masq-cni.dev/egress": "direct"}}`: false,
		`"nonMasqueradeCIDRs": []`: true,
		`"masqueradeCIDRs": []`:    true,
		`"masqLinkLocal": false`:   true, `"masqLinkLocalIPv6": false`: true,
		`"snatAddresses": []`: true, `"toPorts": ""`: true, `"randomFully": true`: true,
		`"mssClamp": "pmtu"`: true, `"helpers": {}`: true, `"dropInvalid": true`: true, `"acceptOtherLinks": false`: true,
	} {
		if got := load(t, members).PolicyNamed; got != want {
			t.Errorf("%s: PolicyNamed is %v, want %v", members, got, want)
		}
	}
}

// Ten faults of ten kinds come in one error, in the order of the text.
func TestLoadTenFaults(t *testing.T) {
	_, err := Load([]byte(`{"mtuu": 5, "stateDir": "run", "helpers": {"ftp": [0]}, "mssClamp": "on", "toPorts": "9-5",
		"snatAddresses": ["::1"], "masqueradeCIDRs": ["10.9.0.1/16"], "ipMasqBackend": "iptables", "mtu": "1500",
		"name": "n/1", "cniVersion": "1.0.0", "type": "masq"}`), "")
	wantError(t, err, types.ErrInvalidNetworkConfig, "invalid configuration: 10 faults", strings.Join([]string{
		`"mtuu" is an unknown key; did you mean "mtu"? If not, remove it`,
		`stateDir: "run" is not an absolute path; give an absolute path such as "/run/masq-cni", or remove the key`,
		`helpers.ftp: 0 is not a port; give ports within 1-65535`,
		`mssClamp: "on" is neither "pmtu" nor "off"; give "pmtu", "off" or 48-65495`,
		`toPorts: "9-5" is not valid: "9-5" is reversed: 9 is above 5; give FIRST-LAST within 1024-65535, several separated by commas`,
		`snatAddresses: "::1" is a loopback address; give an address that the node is reached at, such as "192.0.2.1"`,
		`masqueradeCIDRs: "10.9.0.1/16" has bits beyond its length; write "10.9.0.0/16"`,
		`ipMasqBackend: "iptables" is not supported: masq uses nftables only; remove the key, or give "nftables"`,
		`mtu: "1500" is a string; give 0 (the MTU of the uplink) or 68-65535`,
		`name: "n/1" is not the name of a network; give letters, digits, "_", "." and "-", the first a letter or digit`,
	}, "\n"))
}
