package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestSeveralUplinks: the default routes have two next hops, and the node forwards only on
// interfaces where masq enabled it. Flows leave by both uplinks, each with the address of
// its uplink, and answers that arrive by either uplink reach the container.
func TestSeveralUplinks(t *testing.T) {
	for _, c := range []struct {
		name   string
		daemon bool
		routes func(w *world, family, first, second string)
	}{
		{"several next hops", false, func(w *world, family, first, second string) {
			w.nodeRun("ip", family, "route", "replace", "default", "nexthop", "via", first, "dev", "uplink", "nexthop", "via", second, "dev", "uplink2")
		}},
		{"nexthop objects", false, func(w *world, family, first, second string) {
			n := map[string]int{"-4": 10, "-6": 20}[family]
			w.nodeRun("ip", family, "nexthop", "add", "id", fmt.Sprint(n), "via", first, "dev", "uplink")
			w.nodeRun("ip", family, "nexthop", "add", "id", fmt.Sprint(n+1), "via", second, "dev", "uplink2")
			w.nodeRun("ip", "nexthop", "add", "id", fmt.Sprint(n+2), "group", fmt.Sprintf("%d/%d", n, n+1))
			w.nodeRun("ip", family, "route", "del", "default")
			w.nodeRun("ip", family, "route", "add", "default", "nhid", fmt.Sprint(n+2))
		}},
		{"a table for half of the flows", false, func(w *world, family, _, second string) {
			w.nodeRun("ip", family, "route", "add", "default", "via", second, "dev", "uplink2", "table", "1000")
			w.nodeRun("ip", family, "rule", "add", "ipproto", "udp", "sport", "40000-40007", "lookup", "1000")
		}},
		{"while masqd runs", true, func(w *world, family, first, second string) {
			w.nodeRun("ip", family, "route", "replace", "default", "nexthop", "via", first, "dev", "uplink", "nexthop", "via", second, "dev", "uplink2")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			second := nstest.End{NS: w.Node, Name: "uplink2"}
			far := nstest.End{NS: w.Router, Name: "tonode2"}
			for _, n := range []string{"203.0.113.%d/24", "2001:db8:9::%d/64"} {
				second.Addresses = append(second.Addresses, netip.MustParsePrefix(fmt.Sprintf(n, 2)))
				far.Addresses = append(far.Addresses, netip.MustParsePrefix(fmt.Sprintf(n, 1)))
			}
			assert.NoError(t, nstest.Connect(second, far, 1400))
			assert.NoError(t, errors.Join(
				w.Node.Sysctl("net/ipv4/fib_multipath_hash_policy", "1"), w.Node.Sysctl("net/ipv6/fib_multipath_hash_policy", "1")))
			var p *pod
			if c.daemon {
				d := w.daemon()
				defer d.end()
				p = w.attach("a", w.conflist("1.1.0", w.masq()))
			}
			for i, plan := range w.Plans() {
				assert.NoError(t, w.Server.Route(second.Addresses[i].Masked(), plan.ServerNet.Addr().Next()))
				family := []string{"-4", "-6"}[i]
				c.routes(w, family, plan.Router.String(), far.Addresses[i].Addr().String())
			}
			if p == nil {
				p = w.attach("a", w.conflist("1.1.0", w.masq()))
			}
			if p.result.Interfaces[1].Mtu != 1400 && !c.daemon {
				t.Errorf("MTU %d, not the lesser of both uplinks", p.result.Interfaces[1].Mtu)
			}
			for i, plan := range w.Plans() {
				echo := assert.Must(w.Server.ServeUDP(at(plan.Server, 7)))(t)
				seen := map[netip.Addr]int{}
				own := p.addr(plan.Server)
				flow := func(port int) bool {
					conn, err := p.Dial(soon(t), "udp", netip.AddrPortFrom(own, uint16(port)), echo.Addr())
					if err != nil {
						return false
					}
					defer conn.Close()
					assert.NoError(t, conn.SetDeadline(time.Now().Add(time.Second)))
					send(t, conn, "who")
					b := make([]byte, 100)
					_, err = conn.Read(b)
					return err == nil
				}
				for port := 40000; port < 40016; port++ {
					// The first flow may start before masqd has read the routes.
					until(t, fmt.Sprintf("flow %d to %s is answered", port, plan.Server), func() bool { return flow(port) })
				}
				if i == 0 && !c.daemon { // control
					assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/uplink2/forwarding", "0"))
					lost := false
					for port := 40000; port < 40016 && !lost; port++ {
						lost = !flow(port)
					}
					if !lost {
						t.Error("all flows are answered although uplink2 does not forward")
					}
				}
				for _, d := range echo.Seen() {
					seen[d.Source.Addr()]++
				}
				if seen[plan.Node] == 0 || seen[second.Addresses[i].Addr()] == 0 {
					t.Errorf("flows to %s left as %v, not by both uplinks", plan.Server, seen)
				}
			}
			if got := w.forwardings()["net/ipv4/conf/all/forwarding"]; got != "0" {
				t.Errorf("net.ipv4.conf.all.forwarding is %s, so the test proves nothing", got)
			}
		})
	}
}
