package e2e

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestChecksumOffload: a container asks the device to write the packet's checksum into the
// source address (PACKET_VNET_HDR). The uplink's device does so after the source check and
// after translation. In IPv4 the header's checksum is then wrong, and the next router drops
// the packet. IPv6 has no header checksum: docs/security.md says what remains.
func TestChecksumOffload(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	c := w.attach("a", w.conflist("1.1.0", w.masq()))
	assert.NoError(t, w.Node.ChecksumInSoftware("uplink"))
	f := newFramer(t, w, c)
	own, server := c.addr(w.V4.Server), w.V4.Server
	left := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return !q.Outgoing && q.Dst == server }))(t)
	arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && q.Dst == server }))(t)
	const source = 14 + 12 // offset in the frame
	refused := 0
	for _, at4 := range []uint16{source, source + 2} {
		packet := nstest.UDPPacket(at(own, 700), at(server, 4242), []byte("checksum"))
		err := c.SendOffloaded("eth0", nstest.Frame(f.usual(own), packet), nstest.ChecksumOffload{Start: at4})
		if errors.Is(err, unix.EINVAL) { // kernels that check the checksum's offset
			refused++
		} else {
			assert.NoError(t, err)
		}
	}
	assert.NoError(t, c.SendRaw(nstest.UDPPacket(at(own, 701), at(server, 4343), []byte("end"))))
	assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == 4343 }))(t)
	forged := 0
	for _, q := range packets(t, left) {
		if q.Src != w.V4.Node {
			forged++
		}
	}
	if forged+refused != 2 { // control: the device writes it
		t.Errorf("%d packets left with another source, %d were refused by the kernel", forged, refused)
	}
	if got := packets(t, arrived); len(got) != 1 {
		t.Errorf("arrived: %v", got)
	}
}

// TestContainerChangesItsLink: a container changes the properties of its end of the link. It
// still cannot send with the source of another container, the node forwards no frame that is
// longer than the MTU of the host's end, and masqd stays healthy.
func TestContainerChangesItsLink(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	a, victim := w.attach("a", list), w.attach("victim", list)
	d := w.daemon()
	until(t, "masqd knows two attachments", func() bool { return d.metric("masq_attachments") == "2" })
	own, theirs, server := a.addr(w.V4.Server), victim.addr(w.V4.Server), w.V4.Server
	arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && q.Dst == server && q.DstPort == 4242 }))(t)
	attack := func(from *nstest.NS, iface, what string) {
		t.Helper()
		f := framer{assert.Must(from.HardwareAddr(iface))(t), assert.Must(w.Node.HardwareAddr(a.host()))(t)}
		for _, src := range []struct {
			payload string
			frame   []byte
		}{
			{"forged", nstest.Frame(f.usual(theirs), nstest.UDPPacket(at(theirs, 700), at(server, 4242), []byte("forged")))},
			{what, nstest.Frame(f.usual(own), nstest.UDPPacket(at(own, 700), at(server, 4242), []byte(what)))},
		} {
			assert.NoError(t, from.SendFrame(iface, src.frame))
		}
		got := assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return string(q.Payload) == what }))(t)
		if got.Src != w.V4.Node {
			t.Errorf("%s: %v", what, got)
		}
		for _, q := range packets(t, arrived) {
			if string(q.Payload) == "forged" {
				t.Errorf("%s: a forged packet arrived: %v", what, q)
			}
		}
	}
	change := func(f func(netlink.Link) error) {
		t.Helper()
		assert.NoError(t, a.Do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return f(l)
		}))
	}
	attack(a.NS, "eth0", "as ADD made it")
	change(func(l netlink.Link) error {
		theirs := assert.Must(netlink.ParseAddr(theirs.String() + "/32"))(t)
		return errors.Join(netlink.AddrAdd(l, theirs), netlink.LinkSetAlias(l, "net/victim/eth0"), netlink.LinkSetGroup(l, 1),
			netlink.LinkSetTxQLen(l, 1), netlink.LinkSetGSOMaxSize(l, 65536), netlink.LinkSetAllmulticastOn(l), netlink.SetPromiscOn(l))
	})
	attack(a.NS, "eth0", "another alias, group and address")
	change(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 9000) })
	jumbo := nstest.UDPPacket(at(own, 700), at(server, 4242), make([]byte, 4000))
	f := newFramer(t, w, a)
	// The host's end refuses it; the sender may get an error.
	if err := a.SendFrame("eth0", nstest.Frame(f.usual(own), jumbo)); err != nil && !errors.Is(err, unix.ENOBUFS) {
		t.Error(err)
	}
	attack(a.NS, "eth0", "a larger MTU")
	for _, q := range packets(t, arrived) {
		if q.Length > 1500 || q.MoreFragments {
			t.Errorf("a frame longer than the MTU of the host's end was forwarded: %v", q)
		}
	}
	change(func(l netlink.Link) error {
		return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, a.host()), netlink.LinkSetUp(l))
	})
	attack(a.NS, a.host(), "the name of the host's end")

	// The container's end moves into a child namespace and is deleted there.
	child := assert.Must(w.lab.Namespace("child"))(t)
	fd := assert.Must(unix.Open(child.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0))(t)
	defer func() { assert.NoError(t, unix.Close(fd)) }()
	assert.NoError(t, a.Do(func() error {
		l, err := netlink.LinkByName(a.host())
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(l, fd)
	}))
	assert.NoError(t, child.Do(func() error {
		l, err := netlink.LinkByName(a.host())
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}))
	attack(child, a.host(), "in a child namespace")
	assert.NoError(t, child.RemoveLink(a.host()))
	// masqd and the victim are unaffected.
	assert.Must(victim.Ping(soon(t), server, nstest.PingOptions{}))(t)
	if code, text := d.get("/healthz"); code != 200 {
		t.Errorf("masqd: %d %s", code, text)
	}
}
