package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// carrier reports whether the host's end of a container's link has a carrier.
func (w *world) carrier(p *pod) bool {
	w.t.Helper()
	return strings.Contains(w.nodeRun("ip", "link", "show", "dev", p.host()), "LOWER_UP")
}

// flap takes the container's interface down and up and adds its routes again, which the
// kernel deletes on the way, as a program in the container would.
func (w *world) flap(p *pod) {
	w.t.Helper()
	var routes []string
	for _, plan := range w.plansOf(p) {
		family, gateway := "-4", p.gateway(plan.Node).String()
		if plan.Node.Is6() {
			family = "-6"
		} else {
			routes = append(routes, "-4 route replace "+gateway+" dev eth0 scope link")
		}
		routes = append(routes, family+" route replace default via "+gateway+" dev eth0")
	}
	p.run("ip", "link", "set", "eth0", "down")
	until(w.t, "the node notices", func() bool { return !w.carrier(p) })
	p.run("ip", "link", "set", "eth0", "up")
	for _, r := range routes {
		p.run("ip", strings.Fields(r)...)
	}
}

// plansOf lists the families of a container's addresses.
func (w *world) plansOf(p *pod) (out []nstest.Plan) {
	for _, plan := range w.Plans() {
		for _, ip := range p.result.IPs {
			if a, _ := netip.AddrFromSlice(ip.Address.IP); a.Unmap().Is4() == plan.Node.Is4() {
				out = append(out, plan)
			}
		}
	}
	return out
}

// TestContainerFlapsItsLink: a container that takes its interface down and up has
// translated connectivity again, in both families and modes, with and without masqd.
func TestContainerFlapsItsLink(t *testing.T) {
	for _, daemon := range []bool{false, true} {
		for _, mode := range []struct {
			name    string
			plugins func(*world) []keys
		}{
			{"main mode", func(w *world) []keys { return []keys{w.masq()} }},
			{"behind ptp", func(w *world) []keys { return []keys{w.linkByPTP(), w.behind()} }},
		} {
			t.Run(fmt.Sprintf("%s, masqd %t", mode.name, daemon), func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				p := w.attach("a", w.conflist("1.1.0", mode.plugins(w)...))
				if daemon {
					d := w.daemon()
					defer d.end()
				}
				for range 2 {
					w.flap(p)
					for _, plan := range w.plansOf(p) {
						until(t, fmt.Sprintf("%s answers", plan.Server), func() bool { return answered(p, plan.Server) })
						w.seenAs(p, plan, plan.Node)
					}
				}
			})
		}
	}
}

// TestFlapWithEvictedNeighbor: before Linux 5.16, or if another program resets the
// setting, a flap deletes the proxy neighbor of the link. masqd restores it when the
// carrier returns, long before the next resync. In the control, without masqd, the
// container stays disconnected.
func TestFlapWithEvictedNeighbor(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	evicts := "net/ipv4/conf/" + p.host() + "/arp_evict_nocarrier"
	assert.NoError(t, w.Node.Sysctl(evicts, "1"))
	w.flap(p)
	if reaches(p, w.V4.Server) {
		t.Fatal("there are answers without a proxy neighbor")
	}
	d := w.daemon("--resync-interval=1h")
	defer d.end()
	until(t, "masqd restores it at its start", func() bool { return answered(p, w.V4.Server) })
	assert.NoError(t, w.Node.Sysctl(evicts, "1"))
	w.flap(p)
	for _, plan := range w.Plans() {
		until(t, fmt.Sprintf("%s answers", plan.Server), func() bool { return answered(p, plan.Server) })
	}
}
