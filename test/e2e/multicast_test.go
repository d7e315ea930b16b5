package e2e

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestMulticastStaysOnTheLink: packets that a container sends to the groups of mDNS, DHCP,
// LLDP, IGMP and MLD reach neither another container nor the uplink. A program of the node
// that listens on the container's link receives them, as on any link.
func TestMulticastStaysOnTheLink(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	a, other := w.attach("a", list), w.attach("other", list)
	f := newFramer(t, w, a)
	own4, own6 := a.addr(w.V4.Server), a.addr(w.V6.Server)
	group := netip.MustParseAddr
	marked := func(q nstest.Packet) bool {
		return !q.Outgoing && (q.Dst.IsMulticast() || q.Dst == group("255.255.255.255")) && (q.Src == own4 || q.Src == own6 || q.Src.IsUnspecified() || q.Src == w.V4.Node || q.Src == w.V6.Node) &&
			(q.DstPort == 5353 || q.DstPort == 67 || q.DstPort == 547 || q.Proto == unix.IPPROTO_IGMP || q.ICMPType == 131)
	}
	received := map[string]*nstest.Capture{
		"another container": assert.Must(other.Capture("eth0", marked))(t),
		"the uplink":        assert.Must(w.Router.Capture("tonode", marked))(t),
	}
	// The control: mDNS and DHCP servers of the node receive the packets.
	listener := make([]*net.UDPConn, 0, 2)
	assert.NoError(t, w.Node.Do(func() error {
		link, err := net.InterfaceByName(a.host())
		if err != nil {
			return err
		}
		mdns, err := net.ListenMulticastUDP("udp4", link, net.UDPAddrFromAddrPort(at(group("224.0.0.251"), 5353)))
		if err != nil {
			return err
		}
		listener = append(listener, mdns)
		dhcp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 67})
		listener = append(listener, dhcp)
		return err
	}))
	multicast4, multicast6 := net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0xfb}
	lldp := net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}
	for _, x := range []struct {
		dst    net.HardwareAddr
		src    netip.Addr
		packet []byte
	}{
		{multicast4, own4, nstest.UDPPacket(at(own4, 5353), at(group("224.0.0.251"), 5353), []byte("mdns"))},
		{multicast6, own6, nstest.UDPPacket(at(own6, 5353), at(group("ff02::fb"), 5353), []byte("mdns"))},
		{multicast6, own6, nstest.UDPPacket(at(own6, 5353), at(group("ff05::fb"), 5353), []byte("mdns of the site"))},
		{multicast4, own4, nstest.UDPPacket(at(own4, 5353), at(group("239.1.2.3"), 5353), []byte("a group of the site"))},
		{net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, own4, nstest.UDPPacket(at(own4, 68), at(group("255.255.255.255"), 67), []byte("dhcp"))},
		{multicast6, own6, nstest.UDPPacket(at(own6, 546), at(group("ff02::1:2"), 547), []byte("dhcp"))},
		{lldp, own4, nstest.UDPPacket(at(own4, 5353), at(group("224.0.0.251"), 5353), []byte("to the MAC of LLDP"))},
		{multicast4, own4, nstest.IPPacket(own4, group("224.0.0.22"), unix.IPPROTO_IGMP, []byte{0x16, 0, 0, 0, 239, 1, 2, 3}, 2)},
		{multicast6, own6, nstest.IPPacket(own6, group("ff02::16"), unix.IPPROTO_ICMPV6, append([]byte{131, 0, 0, 0, 0, 0, 0, 0}, group("ff05::fb").AsSlice()...), 2)},
	} {
		e := f.usual(x.src)
		e.Dst = x.dst
		assert.NoError(t, a.SendFrame("eth0", nstest.Frame(e, x.packet)))
	}
	deadline, _ := soon(t).Deadline()
	buf := make([]byte, 100)
	for i, want := range []string{"mdns", "dhcp"} {
		assert.NoError(t, listener[i].SetReadDeadline(deadline))
		if n := assert.Must(listener[i].Read(buf))(t); string(buf[:n]) != want {
			t.Errorf("the node receives %q", buf[:n])
		}
		assert.NoError(t, listener[i].Close())
	}
	// What the container sends afterwards has arrived, so there is nothing on its way.
	for _, p := range w.Plans() {
		assert.Must(a.Ping(soon(t), p.Server, nstest.PingOptions{}))(t)
		assert.Must(a.Ping(soon(t), other.addr(p.Server), nstest.PingOptions{}))(t)
	}
	for where, c := range received {
		if got := packets(t, c); len(got) != 0 {
			t.Errorf("%s receives %v", where, got)
		}
	}
}
