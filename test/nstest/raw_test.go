package nstest

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestRawSpoofs has the far end's kernel verify the checksums: it delivers nothing with a wrong
// one.
func TestRawSpoofs(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	spoofed := []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8:7::7")}
	for i, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeUDP(at(p.Server, 0)))(t)
		src := at(spoofed[i], 7777)
		for _, size := range []int{0, 1, 1000} {
			assert.NoError(t, topo.Node.SendRaw(UDPPacket(src, srv.Addr(), make([]byte, size))))
		}
		// A payload whose checksum is 0, which would mean "no checksum".
		zero := UDPPacket(src, srv.Addr(), make([]byte, 2))
		assert.NoError(t, topo.Node.SendRaw(UDPPacket(src, srv.Addr(), zero[len(zero)-4:len(zero)-2])))
		seen := assert.Must(srv.WaitSeen(within(t), 4))(t)
		for j, size := range []int{0, 1, 1000, 2} {
			if seen[j] != (Datagram{src, size}) {
				t.Errorf("datagram %d: %v", j, seen[j])
			}
		}
	}
}

func TestRawTCPAndEcho(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	for _, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeTCP(at(p.Server, 0)))(t)
		c := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return p.Outgoing }))(t)
		me := at(p.Node, 5555)
		// A host that accepts the checksum answers a SYN, and resets segments without a
		// connection.
		assert.NoError(t, topo.Node.SendRaw(TCPPacket(Segment{Src: me, Dst: srv.Addr(), Flags: SYN, Seq: 41, MSS: 777})))
		got := assert.Must(c.WaitFor(within(t), func(p Packet) bool { return p.TCPFlags == SYN|ACK }))(t)
		if got.Destination() != me || got.Ack != 42 {
			t.Errorf("answer %v", got)
		}
		me = at(p.Node, 5556)
		assert.NoError(t, topo.Node.SendRaw(TCPPacket(Segment{Src: me, Dst: srv.Addr(), Flags: ACK, Ack: 99, Payload: []byte("odd")})))
		got = assert.Must(c.WaitFor(within(t), func(p Packet) bool { return p.TCPFlags&RST != 0 && p.DstPort == 5556 }))(t)
		if got.Seq != 99 {
			t.Errorf("reset %v", got)
		}
		assert.NoError(t, topo.Node.SendRaw(EchoPacket(p.Node, p.Server, 7, 9, []byte("x"))))
		assert.Must(c.WaitFor(within(t), func(p Packet) bool { return p.ICMPRest == 7<<16|9 }))(t)
	}
	if topo.Node.SendRaw([]byte{0x45}) == nil {
		t.Error("sent what is no packet")
	}
}
