package e2e

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestUplinkWithALinkLocalAddressAlone: if the uplink has only a link-local address, packets
// would leave with a fe80:: source. STATUS and inspect report it until the node has a global
// address, on lo or on the uplink.
func TestUplinkWithALinkLocalAddressAlone(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("a", w.conflist("1.1.0", w.masq()))
	status := func(subnet string) reply {
		conf := w.masq()
		if subnet != "" {
			conf = w.masqOn(subnet)
		}
		conf["cniVersion"], conf["name"] = "1.1.0", "net"
		return w.call(call{verb: "STATUS", conf: conf})
	}
	inspected := func() (uplinks []string, faults []string) {
		n := inspect[report.Node](w)
		for _, u := range n.Uplinks {
			uplinks = append(uplinks, u.Interface+" "+u.Address.String())
		}
		for _, p := range n.Problems {
			if p.Kind == report.KindUplinkAddress {
				faults = append(faults, p.Object+" "+p.Message)
			}
		}
		return uplinks, faults
	}
	whole := func(what, v6 string) {
		t.Helper()
		for _, subnet := range []string{"", "fd00:88::/64"} {
			if r := status(subnet); r.exit != 0 || r.stderr != "" {
				t.Errorf("%s: STATUS of %q: exit code %d: %s%s", what, subnet, r.exit, r.stdout, r.stderr)
			}
		}
		uplinks, faults := inspected()
		if want := []string{"uplink " + w.V4.Node.String(), "uplink " + v6}; !slices.Equal(uplinks, want) || len(faults) > 0 {
			t.Errorf("%s: inspect has uplinks %q, not %q, and faults %q", what, uplinks, want, faults)
		}
	}
	whole("a global address", w.V6.Node.String())

	w.nodeRun("ip", "-6", "address", "flush", "dev", "uplink", "scope", "global")
	w.nodeRun("ip", "-6", "address", "add", "fe80::7/64", "dev", "uplink", "nodad")
	w.nodeRun("ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "uplink")
	if r := status(""); r.exit != 0 || !strings.Contains(r.stderr, "uplink uplink has no global IPv6 address") {
		t.Errorf("STATUS with IPv4 too: exit code %d: %s%s", r.exit, r.stdout, r.stderr)
	}
	if e := status("fd00:88::/64").refused(51); !strings.Contains(e.Msg, "fe80::") || !strings.Contains(e.Details, "uplink") {
		t.Errorf("STATUS of an IPv6 network: %+v", e)
	}
	if r := status("10.88.0.0/16"); r.exit != 0 || r.stderr != "" {
		t.Errorf("STATUS of an IPv4 network: exit code %d: %s%s", r.exit, r.stdout, r.stderr)
	}
	uplinks, faults := inspected()
	source := ""
	for _, u := range uplinks {
		if a, ok := strings.CutPrefix(u, "uplink fe80::"); ok {
			source = "fe80::" + a
		}
	}
	if len(uplinks) != 2 || source == "" || len(faults) != 1 || !strings.Contains(faults[0], "uplink uplink has no global IPv6 address") || !strings.Contains(faults[0], source) {
		t.Errorf("inspect has uplinks %q and faults %q", uplinks, faults)
	}
	text := string(assert.Must(w.Node.Command(soon(t), built("masq-cni"), "--state-dir", filepath.Join(w.dir, "state"), "inspect").Output())(t))
	if !strings.Contains(text, "has no global IPv6 address") {
		t.Errorf("inspect lacks the warning:\n%s", text)
	}

	// An address on lo is used as source, and lo is not an uplink.
	global := netip.MustParseAddr("2001:db8:77::7")
	w.nodeRun("ip", "-6", "address", "add", global.String()+"/128", "dev", "lo", "nodad")
	whole("an address on lo", global.String())
}
