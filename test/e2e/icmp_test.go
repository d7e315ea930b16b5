package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// farMTU is the MTU of the far link of the router in the tests of ICMP errors.
const farMTU = 1280

// TestICMPErrors: an ICMP error comes from another host and quotes the translated packet.
// It must reach the container that sent the packet, and quote the packet as the container
// sent it.
func TestICMPErrors(t *testing.T) {
	t.Run("masqueraded", func(t *testing.T) {
		w := newFarNarrow(t)
		list := w.conflist("1.1.0", w.masq())
		a, b := w.attach("a", list), w.attach("b", list)
		for _, p := range w.Plans() {
			// Too-big packets first: a container that has learned the path MTU sends no more of
			// them.
			w.sameIdentifier(a, b, p)
			for _, c := range []*pod{a, b} {
				r, err := c.Ping(soon(t), p.Server, nstest.PingOptions{TTL: 2})
				if err != nil || !r.TimeExceeded() || r.From != p.Router {
					t.Errorf("TTL 2 to %s: %+v, %v", p.Server, r, err)
				}
				r, err = c.Ping(soon(t), p.Server, nstest.PingOptions{Size: 1400, DontFragment: true})
				if err != nil || !r.TooBig() || r.MTU != farMTU || r.From != p.Router {
					t.Errorf("1400 bytes to %s: %+v, %v", p.Server, r, err)
				}
			}
			w.closedPort(a, b, p)
		}
	})
	t.Run("not masqueraded", func(t *testing.T) {
		w := newFarNarrow(t)
		c := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"ipMasq": false})))
		for _, p := range w.Plans() {
			own := c.addr(p.Server)
			sent := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == own }))(t)
			answers := assert.Must(c.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && aboutEcho(q) }))(t)
			for i, k := range errorKinds(p) {
				assert.NoError(t, c.SendRaw(k.packet(own, p.Server, 7, uint16(i))))
				assert.Must(sent.WaitFor(soon(t), func(q nstest.Packet) bool { return q.ICMPRest == 7<<16|uint32(i) }))(t)
			}
			// The router has received all packets, and the path to the container works.
			w.passes(p)
			if r := assert.Must(w.Node.Ping(soon(t), own, nstest.PingOptions{}))(t); !r.Reply() {
				t.Errorf("ping from the node to %s: %+v", own, r)
			}
			if got := packets(t, answers); len(got) != 0 {
				t.Errorf("answered without a translation: %v", got)
			}
		}
	})
}

// newFarNarrow makes a world in which the router, not the node, drops packets that are too
// big.
func newFarNarrow(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Router.SetMTU("toserver", farMTU))
	return w
}

// errorKind is a packet to which the router answers with an ICMP error.
type errorKind struct {
	name       string
	kind, code uint8
	packet     func(src, dst netip.Addr, id, seq uint16) []byte
}

func errorKinds(p nstest.Plan) []errorKind {
	short := func(src, dst netip.Addr, id, seq uint16) []byte {
		packet := nstest.EchoPacket(src, dst, id, seq, nil)
		if src.Is4() {
			packet[8] = 2 // the kernel fills in the checksum
		} else {
			packet[7] = 2
		}
		return packet
	}
	long := func(src, dst netip.Addr, id, seq uint16) []byte {
		packet := nstest.EchoPacket(src, dst, id, seq, make([]byte, 1400))
		if src.Is4() {
			packet[6] |= 0x40 // don't fragment
		}
		return packet
	}
	if p.Server.Is4() {
		return []errorKind{{"time exceeded", 11, 0, short}, {"fragmentation needed", 3, 4, long}}
	}
	return []errorKind{{"time exceeded", 3, 0, short}, {"packet too big", 2, 0, long}}
}

// aboutEcho reports whether p is an answer to an echo request: the reply or an error.
func aboutEcho(p nstest.Packet) bool {
	switch p.Proto {
	case unix.IPPROTO_ICMP:
		return p.ICMPType == 0 || p.ICMPType == 3 || p.ICMPType == 11
	case unix.IPPROTO_ICMPV6:
		return p.ICMPType < 128 || p.ICMPType == 129
	}
	return false
}

// sameIdentifier has two containers ping the same server with the same identifier at once.
// Only the translation makes their packets different.
func (w *world) sameIdentifier(a, b *pod, p nstest.Plan) {
	t := w.t
	t.Helper()
	const id = 4711
	for i, k := range errorKinds(p) {
		sent := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Dst == p.Server && q.ICMPRest != 0 }))(t)
		pods := []*pod{a, b}
		var came [2]*nstest.Capture
		for j, c := range pods {
			came[j] = assert.Must(c.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && aboutEcho(q) }))(t)
		}
		var sending sync.WaitGroup
		for j, c := range pods {
			sending.Go(func() {
				if err := c.SendRaw(k.packet(c.addr(p.Server), p.Server, id, uint16(10*i+j))); err != nil {
					t.Error(err)
				}
			})
		}
		sending.Wait()
		outside := assert.Must(sent.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == 2 }))(t)
		if outside[0].Src != p.Node || outside[1].Src != p.Node || outside[0].ICMPRest>>16 == outside[1].ICMPRest>>16 {
			t.Errorf("%s: outside they are %v", k.name, outside)
		}
		for j := range pods {
			assert.Must(came[j].WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)
		}
		// Both have arrived: a misdirected answer would be in the other's capture.
		for j, c := range pods {
			got := packets(t, came[j])
			if len(got) != 1 {
				t.Errorf("%s: %s got %v", k.name, c.runtime.ContainerID, got)
				continue
			}
			about := assert.Must(nstest.Decode(got[0].Payload))(t)
			if got[0].Src != p.Router || got[0].ICMPType != k.kind || got[0].ICMPCode != k.code ||
				about.Src != c.addr(p.Server) || about.Dst != p.Server || about.ICMPRest != id<<16|uint32(10*i+j) {
				t.Errorf("%s: %s got %v about %v", k.name, c.runtime.ContainerID, got[0], about)
			}
		}
	}
}

// closedPort has two containers send from the same port to a closed port. The kernel of
// each container reports the error to its program.
func (w *world) closedPort(a, b *pod, p nstest.Plan) {
	t := w.t
	t.Helper()
	for _, c := range []*pod{a, b} {
		conn := assert.Must(c.DialUDP(at(c.addr(p.Server), 5353), at(p.Server, 9)))(t)
		defer func() { _ = conn.Close() }()
		assert.Must(conn.Write([]byte("anyone?")))(t)
		deadline, _ := soon(t).Deadline()
		assert.NoError(t, conn.SetReadDeadline(deadline))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s to a closed port of %s: %v", c.runtime.ContainerID, p.Server, err)
		}
	}
}

// TestICMPErrorsOfContainers: a container's error about an answer that came too late leaves
// with the flow's translation and quotes the packet that the server sent.
func TestICMPErrorsOfContainers(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("ipMasq %v", on), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			w.knowPods()
			c := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"ipMasq": on})))
			for _, p := range w.Plans() {
				want := c.addr(p.Server)
				if on {
					want = p.Node
				}
				unreachable := map[bool][2]uint8{true: {3, 3}, false: {1, 4}}[want.Is4()]
				errs := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool {
					return !q.Outgoing && [2]uint8{q.ICMPType, q.ICMPCode} == unreachable
				}))(t)
				listener := assert.Must(w.Server.ListenUDP(at(p.Server, 4242)))(t)
				defer func() { _ = listener.Close() }()
				conn := assert.Must(c.DialUDP(netip.AddrPort{}, at(p.Server, 4242)))(t)
				assert.Must(conn.Write([]byte("question")))(t)
				assert.NoError(t, conn.Close())

				deadline, _ := soon(t).Deadline()
				assert.NoError(t, listener.SetReadDeadline(deadline))
				_, from, err := listener.ReadFromUDPAddrPort(make([]byte, 100))
				assert.NoError(t, err)
				assert.Must(listener.WriteToUDPAddrPort([]byte("answer"), from))(t)
				got := assert.Must(errs.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)
				about := assert.Must(nstest.Decode(got.Payload))(t)
				if got.Src != want || about.Source() != at(p.Server, 4242) || about.Dst != want || about.DstPort != from.Port() {
					t.Errorf("%v about %v, want it from %s about what was sent to %s", got, about, want, from)
				}
			}
		})
	}
}

// TestPathMTUDiscovery has two containers upload over a link that is narrow beyond the
// router, where the clamp cannot know the MTU. The control is a router that sends no
// ICMP errors.
func TestPathMTUDiscovery(t *testing.T) {
	const size = 300_000
	for _, dropped := range []bool{false, true} {
		name := map[bool]string{false: "errors pass", true: "errors dropped"}[dropped]
		t.Run(name, func(t *testing.T) {
			w := newFarNarrow(t)
			if dropped {
				assert.NoError(t, w.Router.DropPMTU())
			}
			list := w.conflist("1.1.0", w.masq())
			pods := []*pod{w.attach("a", list), w.attach("b", list)}
			var uploads sync.WaitGroup
			for _, p := range w.Plans() {
				srv, _ := w.servers(p.Server)
				for _, c := range pods {
					ctx := soon(t)
					if dropped {
						ctx = briefly(t)
					}
					uploads.Go(func() {
						got, err := c.Upload(ctx, srv, size)
						switch {
						case !dropped && (err != nil || got.Bytes != size):
							t.Errorf("%s to %s: %+v, %v", c.runtime.ContainerID, srv, got, err)
						case dropped && (!errors.Is(err, context.DeadlineExceeded) || got.Bytes != 0):
							t.Errorf("%s to %s: %+v, %v; want it frozen", c.runtime.ContainerID, srv, got, err)
						}
					})
				}
			}
			uploads.Wait()
			if n := assert.Must(w.Router.PMTUDropped())(t); dropped && n == 0 {
				t.Error("the router dropped no message")
			}
		})
	}
}
