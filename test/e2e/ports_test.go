package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPrivilegedPorts: rlogin, rsh and NFS trust clients with a source port below 1024. Such
// a source keeps a privileged port in every setting. The control shows that the kernel alone
// does not ensure that if a range of ports is given.
func TestPrivilegedPorts(t *testing.T) {
	for _, c := range []struct {
		name  string
		conf  keys
		naive string // nft rule that replaces the plugin's
	}{
		{"default", nil, ""},
		{"randomFully false", keys{"randomFully": false}, ""},
		{"toPorts", keys{"toPorts": "20000-29999"}, ""},
		{"toPorts, randomFully false", keys{"toPorts": "20000-29999", "randomFully": false}, ""},
		{"two ranges", keys{"toPorts": "20000-20999,30000-30999"}, ""},
		{"a range that a rule gives", keys{"ipMasq": false}, "meta l4proto { tcp, udp } masquerade to :20000-29999"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(c.conf))
			if c.naive != "" {
				w.otherRule(c.naive)
			}
			// The second container uses source ports that the first has in use.
			a, b := w.attach("a", list), w.attach("b", list)
			for _, plan := range w.Plans() {
				tcp, udp := w.servers(plan.Server)
				for _, p := range []*pod{a, b} {
					for _, port := range []uint16{600, 1023, 1024, 5555} {
						for proto, seen := range w.seenFrom(t, p, port, tcp, udp) {
							privileged := port < 1024 && c.naive == ""
							if seen.Addr() != plan.Node || (seen.Port() < 1024) != privileged {
								t.Errorf("%s from port %d of %s: seen as %s", proto, port, p.runtime.ContainerID, seen)
							}
						}
					}
				}
			}
		})
	}
}

// seenFrom returns the sources that the servers see of a connection and a datagram from a
// port.
func (w *world) seenFrom(t testing.TB, p *pod, port uint16, tcp, udp netip.AddrPort) map[string]netip.AddrPort {
	t.Helper()
	local := netip.AddrPortFrom(netip.Addr{}, port)
	stream, err := p.Who(soon(t), local, tcp)
	assert.NoError(t, err)
	arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && q.Destination() == udp && q.DstPort != 0 }))(t)
	defer func() { _ = arrived.Close() }()
	assert.NoError(t, p.EchoUDP(soon(t), local, udp, 10))
	datagrams := packets(t, arrived)
	if len(datagrams) != 1 {
		t.Fatalf("one datagram to %s arrived as %v", udp, datagrams)
	}
	return map[string]netip.AddrPort{"tcp": stream, "udp": datagrams[0].Source()}
}

// TestToPorts: unprivileged sources leave with a port of the ranges, and every range is
// used.
func TestToPorts(t *testing.T) {
	type span struct{ first, last uint16 }
	w := newWorld(t, nstest.Uplink{})
	for i, c := range []struct {
		toPorts string
		random  bool
		want    []span
	}{
		{"20000-20999", true, []span{{20000, 20999}}},
		{"20000-20999", false, []span{{20000, 20999}}},
		{"21000-21999,30000-30999", true, []span{{21000, 21999}, {30000, 30999}}},
		{"21000-21999,30000-30999", false, []span{{21000, 21999}, {30000, 30999}}},
		{"5000-5099, 6000-6099, 7000-7099", true, []span{{5000, 5099}, {6000, 6099}, {7000, 7099}}},
		// The control: without a range, ports come from the container's kernel
		// (net.ipv4.ip_local_port_range), whose range begins above the tested ones.
		{"", false, []span{{32768, 60999}}},
	} {
		t.Run(fmt.Sprintf("%q, randomFully %v", c.toPorts, c.random), func(t *testing.T) {
			w := w.in(t)
			p := w.attach(fmt.Sprintf("c%d", i), w.conflist("1.1.0", w.masq().With(keys{"toPorts": c.toPorts, "randomFully": c.random})))
			for _, plan := range w.Plans() {
				// Two ranges of one size: the probability that one is never used is 2^-64.
				tcp, udp := w.seenBy(t, p, plan, chances)
				for proto, all := range map[string][]netip.AddrPort{"tcp": tcp, "udp": udp} {
					used := make([]int, len(c.want))
					for _, seen := range all {
						inside := false
						for k, s := range c.want {
							if s.first <= seen.Port() && seen.Port() <= s.last {
								used[k]++
								inside = true
							}
						}
						if !inside || seen.Addr() != plan.Node {
							t.Errorf("%s: seen as %s, want a port within %v", proto, seen, c.want)
						}
					}
					for k, n := range used {
						if n == 0 {
							t.Errorf("%s: no port of %v among %v", proto, c.want[k], all)
						}
					}
				}
			}
		})
	}
}

// TestRandomFully: the port is random, or it is kept if it is free. Each setting is the
// control of the other.
func TestRandomFully(t *testing.T) {
	for _, c := range []struct {
		toPorts string
		ports   []uint16 // source ports of the container, within toPorts
	}{
		{"", []uint16{5555, 22222, 44444}},
		{"20000-49999", []uint16{20000, 33333, 49999}},
	} {
		for _, random := range []bool{true, false} {
			t.Run(fmt.Sprintf("toPorts %q, randomFully %v", c.toPorts, random), func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				list := w.conflist("1.1.0", w.masq().With(keys{"toPorts": c.toPorts, "randomFully": random}))
				first, second := w.attach("first", list), w.attach("second", list)
				for _, plan := range w.Plans() {
					tcp, udp := w.servers(plan.Server)
					kept := map[string]int{}
					for _, port := range c.ports {
						for proto, seen := range w.seenFrom(t, first, port, tcp, udp) {
							if seen.Port() == port {
								kept[proto]++
							}
						}
					}
					for _, proto := range []string{"tcp", "udp"} {
						// A random port equals the original once in 30,000 connections, and all three once in
						// 10^13.
						if all := kept[proto] == len(c.ports); all == random {
							t.Errorf("%s: %d of %d ports were kept", proto, kept[proto], len(c.ports))
						}
					}
					// Not free: another container uses the ports.
					for _, port := range c.ports {
						for proto, seen := range w.seenFrom(t, second, port, tcp, udp) {
							if !random && seen.Port() == port {
								t.Errorf("%s: two containers are %s", proto, seen)
							}
						}
					}
				}
			})
		}
	}
}
