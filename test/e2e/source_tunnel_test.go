package e2e

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestForgedInATunnel: a container sends VXLAN to its node's tunnel, which accepts any peer.
// The outer source is the container's, the inner source is another container's. The
// decapsulated packet enters by the tunnel's device, and is dropped and counted there.
func TestForgedInATunnel(t *testing.T) {
	const port, marker, vxlan = 4246, 4247, 4789
	for _, accept := range []bool{false, true} {
		t.Run(fmt.Sprintf("acceptOtherLinks %v", accept), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"acceptOtherLinks": accept}))
			attacker, victim := w.attach("attacker", list), w.attach("victim", list)
			w.nodeRun("ip", "link", "add", "tunnel", "type", "vxlan", "id", "42", "dstport", fmt.Sprint(vxlan), "local", w.V4.Node.String(), "dev", "uplink")
			w.nodeRun("ip", "address", "add", "172.31.3.1/24", "dev", "tunnel")
			w.nodeRun("ip", "link", "set", "tunnel", "up")
			assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/tunnel/forwarding", "1"))
			assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/all/rp_filter", "0"))
			assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/tunnel/rp_filter", "0"))
			assert.NoError(t, w.Node.Sysctl("net/ipv6/conf/all/forwarding", "1"))
			inner := framer{own: net.HardwareAddr{2, 0, 0, 0, 0, 9}, node: assert.Must(w.Node.HardwareAddr("tunnel"))(t)}
			for i, p := range w.Plans() {
				src := victim.addr(p.Server)
				arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool {
					return !q.Outgoing && q.Dst == p.Server && (q.DstPort == port || q.DstPort == marker)
				}))(t)
				frame := nstest.Frame(inner.usual(src), nstest.UDPPacket(at(src, 700), at(p.Server, port), []byte("forged")))
				header := []byte{0x08, 0, 0, 0, 0, 0, 42, 0} // RFC 7348, section 5
				assert.NoError(t, attacker.SendRaw(nstest.UDPPacket(at(attacker.addr(w.V4.Node), 4000), at(w.V4.Node, vxlan), slices.Concat(header, frame))))
				if accept { // control: the node decapsulates it
					got := assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == port }))(t)
					if got.Src != p.Node {
						t.Errorf("%v, want it from %s", got, p.Node)
					}
					continue
				}
				rule := []string{"origin/other-link4", "origin/other-link6"}[i]
				until(t, "the inner packet is counted", func() bool { return w.counted(rule) == 1 })
				assert.NoError(t, victim.SendRaw(nstest.UDPPacket(at(src, 700), at(p.Server, marker), []byte("own"))))
				assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == marker }))(t)
				if got := packets(t, arrived); len(got) != 1 {
					t.Errorf("forged packets arrived: %v", got)
				}
			}
		})
	}
}
