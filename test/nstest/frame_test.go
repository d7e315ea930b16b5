package nstest

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestSendFrame: a frame arrives as it was sent, also with a priority tag, which the
// kernel removes. A checksum that is left to the device is written before the frame
// leaves a device that computes none.
func TestSendFrame(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	src, dst := assert.Must(topo.Node.HardwareAddr("uplink"))(t), assert.Must(topo.Router.HardwareAddr("tonode"))(t)
	assert.NoError(t, topo.Node.ChecksumInSoftware("uplink"))
	for _, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeUDP(at(p.Server, 0)))(t)
		header, kind := 20, uint16(unix.ETH_P_IP)
		if p.Server.Is6() {
			header, kind = 40, unix.ETH_P_IPV6
		}
		for i, tags := range [][]Tag{nil, {{unix.ETH_P_8021Q, 0}}, {{unix.ETH_P_8021AD, 0}, {unix.ETH_P_8021Q, 0}}} {
			packet := UDPPacket(at(p.Node, 7777), srv.Addr(), make([]byte, i))
			assert.NoError(t, topo.Node.SendFrame("uplink", Frame(Ethernet{Dst: dst, Src: src, Tags: tags, Type: kind}, packet)))
		}
		// The device adds the datagram to what stands in the field: the sum of the
		// pseudo header.
		packet := UDPPacket(at(p.Node, 7777), srv.Addr(), make([]byte, 3))
		field := packet[header+6:]
		binary.BigEndian.PutUint16(field, 0)
		pseudo := add(0, packet[header-2*len(p.Node.AsSlice()):header]) + unix.IPPROTO_UDP + 8 + 3
		binary.BigEndian.PutUint16(field, ^fold(pseudo))
		assert.NoError(t, topo.Node.SendOffloaded("uplink", Frame(Ethernet{Dst: dst, Src: src, Type: kind}, packet), ChecksumOffload{uint16(14 + header), 6}))
		for i, d := range assert.Must(srv.WaitSeen(within(t), 4))(t) {
			if d != (Datagram{at(p.Node, 7777), i}) {
				t.Errorf("datagram %d: %v", i, d)
			}
		}
	}
}
