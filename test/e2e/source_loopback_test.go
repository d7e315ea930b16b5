package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestLoopbackOfTheNode: portmap sets route_localnet on a container's link, so that a
// published port is reachable at 127.0.0.1 of the node. The container cannot reach services
// of the node at 127.0.0.1 with any source. The published port works.
func TestLoopbackOfTheNode(t *testing.T) {
	const port = 4247
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, mode := range []string{"main", "unchecked", "ptp", "bridge"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			plugins, rule := []keys{w.masqOn("10.88.0.0/16").With(keys{"spoofCheck": mode == "main"})}, "prerouting/loopback"
			switch mode {
			case "main":
				rule = "sources/loopback"
			case "ptp":
				plugins = []keys{w.linkByPTP(), w.behind()}
			case "bridge":
				plugins = []keys{w.linkByPTP().With(keys{"type": "bridge", "bridge": "cni0", "isDefaultGateway": true}), w.behind()}
			}
			c := w.attachWith("a", w.conflist("1.0.0", append(plugins, portmap())...), published)
			own := c.addr(w.V4.Server)

			// The purpose of route_localnet: the published port at the node's loopback address.
			assert.Must(c.ServeTCP(at(own, containerPort)))(t)
			if _, err := w.Node.Who(soon(t), netip.AddrPort{}, at(loopback, nodePort)); err != nil {
				t.Errorf("the published port at 127.0.0.1: %v", err)
			}

			// All settings that a plugin may turn on are on.
			assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/all/route_localnet", "1"))
			assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/all/rp_filter", "0"))
			service := assert.Must(w.Node.ListenUDP(at(loopback, port)))(t)
			defer func() { _ = service.Close() }()
			reads := func(want string) {
				t.Helper()
				deadline, _ := soon(t).Deadline()
				assert.NoError(t, service.SetReadDeadline(deadline))
				b := make([]byte, 100)
				if n, from, err := service.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != want {
					t.Errorf("the service reads %q from %s, %v; want %q", b[:n], from, err, want)
				}
			}
			f := newFramer(t, w, c)
			sources := []netip.Addr{own}
			if mode != "main" {
				sources = append(sources, own.Next()) // an unused address of the subnet
			}
			sent := 0
			attack := func(src netip.Addr, word string) {
				t.Helper()
				packet := nstest.UDPPacket(at(src, 700), at(loopback, port), []byte(word))
				assert.NoError(t, c.SendFrame("eth0", nstest.Frame(f.usual(own), packet)))
				sent++
			}
			for _, src := range sources {
				attack(src, "attack")
			}
			until(t, "the packets are counted", func() bool { return w.counted(rule) == sent })
			node := assert.Must(w.Node.DialUDP(netip.AddrPort{}, at(loopback, port)))(t)
			defer func() { _ = node.Close() }()
			assert.Must(fmt.Fprint(node, "the node"))(t)
			reads("the node")

			// The control: without the rules the service is reachable.
			w.nft("flush chain inet masq prerouting-early; flush chain inet masq prerouting-nat")
			attack(own, "open")
			reads("open")
		})
	}
}

// TestLoopback6OfTheNode: the kernel drops packets to ::1 that enter by a link.
func TestLoopback6OfTheNode(t *testing.T) {
	const port = 4248
	w := newWorld(t, nstest.Uplink{})
	c := w.attach("a", w.conflist("1.0.0", w.masq()))
	own, loopback := c.addr(w.V6.Server), netip.IPv6Loopback()
	service := assert.Must(w.Node.ListenUDP(at(loopback, port)))(t)
	defer func() { _ = service.Close() }()
	arrived := assert.Must(w.Node.Capture(c.host(), func(q nstest.Packet) bool { return q.Dst == loopback }))(t)
	f := newFramer(t, w, c)
	assert.NoError(t, c.SendFrame("eth0", nstest.Frame(f.usual(own), nstest.UDPPacket(at(own, 700), at(loopback, port), []byte("attack")))))
	assert.Must(arrived.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)
	node := assert.Must(w.Node.DialUDP(netip.AddrPort{}, at(loopback, port)))(t)
	defer func() { _ = node.Close() }()
	assert.Must(fmt.Fprint(node, "the node"))(t)
	b := make([]byte, 100)
	deadline, _ := soon(t).Deadline()
	assert.NoError(t, service.SetReadDeadline(deadline))
	if n, from, err := service.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "the node" {
		t.Errorf("the service reads %q from %s, %v", b[:n], from, err)
	}
}
