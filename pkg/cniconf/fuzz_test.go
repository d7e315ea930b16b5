package cniconf

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func FuzzLoad(f *testing.F) {
	f.Add([]byte(contract), "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=u-1")
	for _, members := range []string{
		``, `"mtu": 1280.0`, `"mtu": -9223372036854775809`, `"mtu": 68, "mtu": 1e5`,
		`"ipMasq": null, "ipMasqBackend": "iptables", "stateDir": "/a/../b"`,
		`"nonMasqueradeCIDRs": ["10.0.0.1/8", "::ffff:0:0/95", 5, "fe80::%a/64"], "masqueradeCIDRs": ["0.0.0.0/0", "::/0"]`,
		`"snatAddresses": ["192.0.2.1", "2001:db8::1", "::", "fe80::1%x"], "toPorts": "2000-3000,2500,,99999-1"`,
		`"mssClamp": 1e300, "helpers": {"h323": [], "sip": [1720], "sip": [0], "x": null}`,
		`"ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "ranges": [[{"subnet": "fd00::/64"}], [[]], 5]}`,
		`"snatAddresses": ["192.0.2.1"], "runtimeConfig": {"ipRanges": [[]], "io.kubernetes.cri.pod-annotations": {"masq-cni.dev/snat-addresses": "192.0.2.1,,x"}}`,
		`"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"masq-cni.dev/egress": "direct", "masq-cni.dev/\u001b": 1}}`,
		`"cni.dev/valid-attachments": [null, {"containerID": "c", "ifname": "eth0"}], "cni.dev/attachments": null`,
		`"prevResult": {"CNIVERSION": "1.0.0", "ips": [{"address": "10.1.2.3/24", "interface": 0}], "interfaces": [{"name": "eth0"}]}`,
		`"prevResult": {"ips": [null], "interfaces": [null], "routes": [null], "dns": null}`,
		`"\u001b]0;x\u0007": "\u202e", "MTU": [[[[]]]]`,
	} {
		f.Add([]byte(network(members)), "K8S_POD_NAME=\x1b;=;x;\xff=")
	}
	for _, stdin := range []string{
		"", "null", "[]", "{} {}", "{\"\xff\": 1}", `{"name": "n", "cniVersion": "2"}`, `{"cniVersion": 1}`,
		`{"name": "n", "cniVersion": "0.4.0", "prevResult": {"ips": [null], "interfaces": [null], "routes": [null]}}`,
		`{"name": "n", "cniVersion": "0.2.0", "prevResult": {"ip4": {"ip": "10.1.2.3/24", "routes": [null]}, "ip6": {}}}`,
		`{"name": "n", "prevResult": {"ip4": {"ip": "10.1.2.3/24"}, "dns": {"nameservers": [null]}}}`,
	} {
		f.Add([]byte(stdin), "")
	}
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := Load(stdin, args)
		again, errAgain := Load(stdin, args)
		if !reflect.DeepEqual(c, again) || !reflect.DeepEqual(err, errAgain) {
			t.Fatalf("two loads differ: %+v %v, %+v %v", c, err, again, errAgain)
		}
		if (c == nil) == (err == nil) {
			t.Fatalf("got %+v and %v", c, err)
		}
		if err != nil {
			checkError(t, err)
			if _, err := LoadForRemoval(stdin); err != nil {
				checkError(t, err)
			}
			return
		}
		if _, err := LoadForRemoval(stdin); err != nil {
			t.Errorf("Load succeeds, but LoadForRemoval fails: %v", err)
		}
		checkConf(t, c)
	})
}

// checkError asserts the properties of every error: its type, its code, one line of message,
// and one line for each fault, without control characters.
func checkError(t *testing.T, err error) {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is not a *types.Error", err)
	}
	switch e.Code {
	case types.ErrIncompatibleCNIVersion, types.ErrInvalidEnvironmentVariables, types.ErrDecodingFailure, types.ErrInvalidNetworkConfig:
	default:
		t.Errorf("code %d", e.Code)
	}
	for line := range strings.SplitSeq(e.Msg+"\n"+e.Details, "\n") {
		if line == "" || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not one printable line: %q", line)
		}
	}
	for line := range strings.SplitSeq(e.Details, "\n") {
		if !strings.Contains(line, "; ") && !strings.HasSuffix(line, "not listed") {
			t.Errorf("does not say what to do: %s", line)
		}
	}
}

func checkConf(t *testing.T, c *Conf) {
	t.Helper()
	if c.Policy.ID() == "" || c.Name == "" || c.CNIVersion == "" || !strings.HasPrefix(c.StateDir, "/") {
		t.Errorf("incomplete: %+v", c)
	}
	if c.PrevResult != nil {
		// The result can be written again.
		if _, err := json.Marshal(c.PrevResult); err != nil {
			t.Error(err)
		}
	}
	// Written as a configuration, the policy is the same.
	p := c.Policy
	p.EgressDirect = false
	again, err := Load([]byte(written(t, p)), "")
	if err != nil {
		t.Fatalf("the policy does not validate again: %v", err)
	}
	if !again.Policy.Equal(p) {
		t.Errorf("got %+v, want %+v", again.Policy, p)
	}
	addresses := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd00::1/64")}
	complete, err := c.PolicyFor(addresses)
	if err != nil || c.IPMasq != (complete != nil) {
		t.Errorf("PolicyFor: %v, %v", complete, err)
	}
	if complete != nil {
		if err := complete.Validate(); err != nil {
			t.Errorf("the completed policy: %v", err)
		}
	}
}

// written returns a network with this policy.
func written(t *testing.T, p masq.Policy) string {
	t.Helper()
	var ranges []string
	for _, r := range p.ToPorts {
		ranges = append(ranges, r.String())
	}
	helpers := map[string][]uint16{}
	for _, h := range p.Helpers {
		helpers[h.Name] = h.Ports
	}
	keys := map[string]any{
		"cniVersion": "1.1.0", "name": "net", "type": "masq",
		"masqLinkLocal": p.LinkLocal4, "masqLinkLocalIPv6": p.LinkLocal6,
		"toPorts": strings.Join(ranges, ","), "randomFully": p.RandomFully, "mssClamp": p.MSSClamp,
		"helpers": helpers, "dropInvalid": p.DropInvalid, "acceptOtherLinks": p.AcceptOtherLinks,
		// An empty list must not become null.
		"nonMasqueradeCIDRs": append([]netip.Prefix{}, p.NonMasquerade...),
		"masqueradeCIDRs":    append([]netip.Prefix{}, p.Masquerade...),
		"snatAddresses":      append([]netip.Addr{}, p.SNATAddresses...),
	}
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
