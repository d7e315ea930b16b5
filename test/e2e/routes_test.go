package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// routed returns a configuration whose IPAM plugin returns these routes.
func (w *world) routed(ipam string, routes ...keys) keys {
	w.t.Helper()
	if ipam != "host-local" {
		result := assert.Must(json.Marshal(keys{
			"cniVersion": "1.1.0",
			"ips":        []keys{{"address": "10.88.0.5/16"}, {"address": "fd00:88::5/64"}}, "routes": routes,
		}))(w.t)
		w.withPlugin(ipam, fmt.Sprintf("cat > /dev/null\n[ $CNI_COMMAND != ADD ] || echo '%s'\n", result))
		return w.masq().With(keys{"ipam": keys{"type": ipam}})
	}
	return w.masq().With(keys{"ipam": keys{
		"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"),
		"ranges": []any{[]any{keys{"subnet": "10.88.0.0/16"}}, []any{keys{"subnet": "fd00:88::/64"}}}, "routes": routes,
	}})
}

// TestRouteAttributes: the attributes of IPAM's routes are the ones that the container has,
// the result reports and CHECK compares, for host-local and for an IPAM program.
func TestRouteAttributes(t *testing.T) {
	for _, ipam := range []string{"host-local", "sayroutes"} {
		t.Run(ipam, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			conf := w.routed(ipam,
				keys{"dst": "0.0.0.0/0", "advmss": 1000, "mtu": 1400, "priority": 77},
				keys{"dst": "::/0", "advmss": 1010, "mtu": 1390, "priority": 78},
				keys{"dst": "203.0.113.0/24", "table": 1000, "scope": 200},
				keys{"dst": "192.0.2.0/24", "table": 254, "scope": 0})
			list := w.conflist("1.1.0", conf)
			p := w.attach("a", list)
			for command, wants := range map[string][]string{
				"-4 route show default":    {"via 169.254.1.1", "metric 77", "mtu 1400", "advmss 1000"},
				"-6 route show default":    {"via fe80::", "metric 78", "mtu 1390", "advmss 1010"},
				"-4 route show table 1000": {"203.0.113.0/24 via 169.254.1.1", "scope site"},
				"-4 route show 192.0.2/24": {"via 169.254.1.1"},
			} {
				got := p.run("ip", strings.Fields(command)...)
				for _, want := range wants {
					if !strings.Contains(got, want) {
						t.Errorf("ip %s: %q lacks %q", command, got, want)
					}
				}
			}
			// The result tells the runtime and later plugins the actual routes.
			text := string(assert.Must(json.Marshal(p.result))(t))
			for _, want := range []string{`{"advmss":1000,"dst":"0.0.0.0/0","gw":"169.254.1.1","mtu":1400,"priority":77}`, `"scope":200,"table":1000`} {
				if !strings.Contains(text, want) {
					t.Errorf("the result lacks %s: %s", want, text)
				}
			}
			for _, plan := range w.Plans() {
				mss := map[bool]uint16{true: 1000, false: 1010}[plan.Server.Is4()]
				accept := assert.Must(w.Server.Listen(netip.AddrPortFrom(plan.Server, 80)))(t)
				syn := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return p.Proto == unix.IPPROTO_TCP && p.MSS != 0 && !p.Outgoing }))(t)
				c := assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, netip.AddrPortFrom(plan.Server, 80)))(t)
				_ = c.Close()
				_ = accept.Close()
				wantMSS(t, "SYN", packets(t, syn), mss)
				assert.NoError(t, syn.Close())
			}
			assert.NoError(t, p.tryCheck(list))
			for name, change := range map[string]string{
				"mtu":      "-4 route change default via 169.254.1.1 dev eth0 onlink metric 77 mtu 1300 advmss 1000",
				"advmss":   "-6 route change default via GW6 dev eth0 metric 78 mtu 1390 advmss 900",
				"priority": "-4 route add default via 169.254.1.1 dev eth0 onlink metric 79",
				"table":    "-4 route del 203.0.113.0/24 table 1000",
			} {
				for _, ip := range p.result.IPs {
					if ip.Address.IP.To4() == nil {
						change = strings.ReplaceAll(change, "GW6", ip.Gateway.String())
					}
				}
				p.run("ip", strings.Fields(change)...)
				if err := p.tryCheck(list); (err == nil) != (name == "priority") { // an additional route is no fault
					t.Errorf("%s: CHECK: %v", name, err)
				}
				assert.NoError(t, p.tryDel(list))
				assert.NoError(t, p.tryAdd(list))
				assert.NoError(t, p.tryCheck(list))
			}
		})
	}
}

// TestRouteAttributesRefused: ADD refuses an attribute that a link cannot have, names its key,
// and leaves no trace.
func TestRouteAttributesRefused(t *testing.T) {
	for _, ipam := range []string{"host-local", "sayroutes"} {
		t.Run(ipam, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			p := w.pod("a")
			before := w.traces()
			conf := w.routed(ipam,
				keys{"dst": "0.0.0.0/0", "mtu": 9000, "advmss": -1},
				keys{"dst": "10.0.0.0/8", "scope": 253, "table": -7},
				keys{"dst": "fd00::/8", "priority": -1, "scope": 254})
			e := w.call(call{verb: "ADD", id: "a", netns: p.Path(), conf: conf}).refused(types.ErrInvalidNetworkConfig)
			for _, want := range []string{"0.0.0.0/0: mtu: 9000", "0.0.0.0/0: advmss: -1", "10.0.0.0/8: scope: 253", "10.0.0.0/8: table: -7", "fd00::/8: priority: -1", "fd00::/8: scope: 254"} {
				if !strings.Contains(e.Details, "ipam: routes: route to "+want) {
					t.Errorf("details lack %q: %s", want, e.Details)
				}
			}
			unchanged(t, "remaining", w.traces(), before)
			// The control.
			w.call(call{verb: "ADD", id: "a", netns: p.Path(), conf: w.routed(ipam, keys{"dst": "0.0.0.0/0", "mtu": 1400})}).done(new(types100.Result))
		})
	}
}
