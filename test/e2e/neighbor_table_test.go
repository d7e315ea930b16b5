package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
	"golang.org/x/sys/unix"
)

// forgery is one way to make the node learn senders: it returns the frame of the nth sender.
type forgery struct {
	name string
	// learned reports whether a kernel without protection makes an entry for each sender.
	learned bool
	frame   func(n int) []byte
}

// nth returns the nth address after first.
func nth(first string, n int) netip.Addr {
	a := netip.MustParseAddr(first)
	b := a.AsSlice()
	binary.BigEndian.PutUint16(b[len(b)-2:], binary.BigEndian.Uint16(b[len(b)-2:])+uint16(n))
	out, _ := netip.AddrFromSlice(b)
	return out
}

// forgeries are frames from a container to the host's end of its link.
func (p *pod) forgeries() []forgery {
	p.w.t.Helper()
	host, mac := p.macOf(0), p.macOf(1)
	gateway := p.gateway(p.w.V6.Node)
	arp := func(op uint16, sender string, target func(sender netip.Addr) netip.Addr) func(int) []byte {
		return func(n int) []byte {
			from := nth(sender, n)
			return nstest.ARPFrame(op, mac, from, target(from))
		}
	}
	to := func(a netip.Addr) func(netip.Addr) netip.Addr { return func(netip.Addr) netip.Addr { return a } }
	itself := func(sender netip.Addr) netip.Addr { return sender }
	nd := func(kind byte, sender string, target func(sender netip.Addr) netip.Addr) func(int) []byte {
		return func(n int) []byte {
			from := nth(sender, n)
			return nstest.DiscoveryFrame(kind, host, from, gateway, target(from), mac)
		}
	}
	ip6 := func(packet []byte) []byte {
		return nstest.Frame(nstest.Ethernet{Dst: host, Src: mac, Type: unix.ETH_P_IPV6}, packet)
	}
	return []forgery{
		{"ARP for the gateway", true, arp(nstest.ARPRequest, "10.1.0.0", to(p.gateway(p.w.V4.Node)))},
		{"ARP for the gateway, from the network", true, arp(nstest.ARPRequest, "10.88.100.0", to(p.gateway(p.w.V4.Node)))},
		{"ARP for the node", true, arp(nstest.ARPRequest, "10.2.0.0", to(p.w.V4.Node))},
		{"ARP for another host", false, arp(nstest.ARPRequest, "10.3.0.0", to(p.w.V4.Server))},
		{"gratuitous ARP", false, arp(nstest.ARPRequest, "10.4.0.0", itself)},
		{"ARP reply", false, arp(nstest.ARPReply, "10.5.0.0", to(p.w.V4.Node))},
		{"neighbor solicitation", true, nd(nstest.NeighborSolicitation, "fe80::1:0", to(gateway))},
		{"neighbor solicitation, global", true, nd(nstest.NeighborSolicitation, "2001:db8:7::", to(gateway))},
		{"neighbor solicitation, from the network", true, nd(nstest.NeighborSolicitation, "fd00:88::1:0", to(gateway))},
		{"neighbor advertisement", false, nd(nstest.NeighborAdvertisement, "fe80::2:0", itself)},
		{"neighbor advertisement from the container's address", false, func(n int) []byte {
			return nstest.DiscoveryFrame(nstest.NeighborAdvertisement, host, p.addr(p.w.V6.Node), gateway, nth("fd00:88::2:0", n), mac)
		}},
		{"router solicitation", false, nd(nstest.RouterSolicitation, "fe80::3:0", itself)},
		{"router advertisement", true, nd(nstest.RouterAdvertisement, "fe80::4:0", itself)},
		{"redirect", false, nd(nstest.Redirect, "fe80::5:0", itself)},
		{"echo request", false, func(n int) []byte {
			return ip6(nstest.EchoPacket(nth("fe80::6:0", n), gateway, 1, 1, nil))
		}},
		{"UDP to a closed port", false, func(n int) []byte {
			src := netip.AddrPortFrom(nth("fe80::7:0", n), 9)
			return ip6(nstest.UDPPacket(src, netip.AddrPortFrom(gateway, 9), nil))
		}},
	}
}

// macOf returns the MAC of an interface of the result: 0 is the host's end, 1 the
// container's.
func (p *pod) macOf(i int) net.HardwareAddr {
	p.w.t.Helper()
	return assert.Must(net.ParseMAC(p.result.Interfaces[i].Mac))(p.w.t)
}

// gateway returns the container's gateway of the family of like.
func (p *pod) gateway(like netip.Addr) netip.Addr {
	p.w.t.Helper()
	for _, ip := range p.result.IPs {
		a, _ := netip.AddrFromSlice(ip.Gateway)
		if a = a.Unmap(); a.Is4() == like.Is4() {
			return a
		}
	}
	p.w.t.Fatalf("%s has no gateway of the family of %s", p.runtime.ContainerID, like)
	return netip.Addr{}
}

// neighborsOf lists the neighbor entries of the host's end of a container's link, in any
// state.
func (w *world) neighborsOf(p *pod) (all []netip.Addr) {
	w.t.Helper()
	for line := range strings.Lines(w.nodeRun("ip", "neigh", "show", "dev", p.host(), "nud", "all")) {
		a, _, _ := strings.Cut(line, " ")
		// The node makes entries for multicast groups itself when it sends to them.
		if a := assert.Must(netip.ParseAddr(a))(w.t); !a.IsMulticast() {
			all = append(all, a)
		}
	}
	return all
}

// flood sends frames and waits until the node has handled them: it has answered an echo
// request that was sent after them.
func (p *pod) flood(frames [][]byte) {
	p.w.t.Helper()
	own, node := p.addr(p.w.V4.Node), p.w.V4.Node
	answer := assert.Must(p.Capture("eth0", func(q nstest.Packet) bool {
		return q.Src == node && q.Proto == unix.IPPROTO_ICMP && q.ICMPType == 0
	}))(p.w.t)
	defer answer.Close()
	ends := nstest.Ethernet{Dst: p.macOf(0), Src: p.macOf(1), Type: unix.ETH_P_IP}
	last := nstest.Frame(ends, nstest.EchoPacket(own, node, 1, 1, nil))
	assert.NoError(p.w.t, p.SendFrames("eth0", append(frames, last)...))
	assert.Must(answer.WaitFor(soon(p.w.t), func(nstest.Packet) bool { return true }))(p.w.t)
}

// A container cannot add any address but its own to the node's neighbor table, whatever and
// with however many senders it sends. Meanwhile another container keeps its connectivity in
// both families. The control is a link whose sources are not checked.
func TestNeighborTable(t *testing.T) {
	const senders = 200 // in total far above gc_thresh3, which is 1024
	for _, checked := range []bool{true, false} {
		t.Run(fmt.Sprintf("spoofCheck %v", checked), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"spoofCheck": checked}))
			p, other := w.attach("a", list), w.attach("other", list)
			own := map[netip.Addr]bool{p.addr(w.V4.Node): true, p.addr(w.V6.Node): true, masq.ContainerLinkLocal: true}
			for _, f := range p.forgeries() {
				t.Run(f.name, func(t *testing.T) {
					w := w.in(t)
					var frames [][]byte
					n := senders
					if !checked {
						n = 20 // few, because the limit is shared with other tests
					}
					for i := range n {
						frames = append(frames, f.frame(i))
					}
					p := *p
					p.w = w
					p.flood(frames)
					var learned []netip.Addr
					for _, a := range w.neighborsOf(&p) {
						if !own[a] {
							learned = append(learned, a)
						}
					}
					switch {
					case checked && len(learned) > 0:
						t.Errorf("%d of %d senders are in the node's neighbor table, such as %s", len(learned), n, learned[0])
					case !checked && f.learned && len(learned) < n:
						t.Errorf("the control: %d of %d senders are in the node's neighbor table", len(learned), n)
					}
					w.nodeRun("ip", "neigh", "flush", "dev", p.host(), "nud", "all")
				})
			}
			other.run("ip", "neigh", "flush", "dev", "eth0")
			for _, plan := range w.Plans() {
				until(t, fmt.Sprintf("%s answers another container", plan.Server), func() bool { return answered(other, plan.Server) })
			}
		})
	}
}

// A container with a link-local address of its choice, for example one that an earlier
// version derived from the MAC, keeps IPv6 connectivity: it solicits its gateway from the
// packet's source address, and again when its entry expires.
func TestOtherLinkLocalAddress(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	p.run("ip", "-6", "address", "del", masq.ContainerLinkLocal.String()+"/64", "dev", "eth0")
	p.run("ip", "-6", "address", "add", "fe80::ff:fe00:7/64", "dev", "eth0", "nodad")
	p.run("ip", "-6", "neigh", "flush", "dev", "eth0")
	w.nodeRun("ip", "-6", "neigh", "flush", "dev", p.host())
	until(t, "there are answers", func() bool { return answered(p, w.V6.Server) })
	gateway := p.gateway(w.V6.Node).String()
	p.run("ip", "-6", "neigh", "change", gateway, "dev", "eth0", "nud", "probe")
	until(t, "the kernel removes the entry", func() bool {
		return !strings.Contains(p.run("ip", "-6", "neigh", "show", gateway, "dev", "eth0"), "PROBE")
	})
	until(t, "there are answers again", func() bool { return answered(p, w.V6.Server) })
	until(t, "the node reaches it", func() bool {
		r, err := w.Node.Ping(soon(t), p.addr(w.V6.Node), nstest.PingOptions{})
		return err == nil && r.Reply()
	})
}
