package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestEgress is the main purpose: every packet of a container arrives with the node's
// address, and the answers reach the container.
func TestEgress(t *testing.T) {
	t.Run("masqueraded", func(t *testing.T) {
		w := newWorld(t, nstest.Uplink{})
		c := w.attach("a", w.conflist("1.1.0", w.masq()))
		for _, p := range w.Plans() {
			own := c.addr(p.Server)
			arrived := assert.Must(w.Server.Capture("eth0", toward(p.Server)))(t)
			for _, probe := range w.probes(c, p) {
				if err := probe.send(soon(t)); err != nil {
					t.Errorf("%s to %s: %v", probe.name, p.Server, err)
				}
			}
			// Every answer has arrived, so every request has too.
			seen := packets(t, arrived)
			for _, probe := range w.probes(c, p) {
				if !slices.ContainsFunc(seen, probe.is) {
					t.Errorf("%s: none arrived among %v", probe.name, seen)
				}
			}
			for _, q := range seen {
				if q.Src != p.Node {
					t.Errorf("arrived from another address than %s: %v (the container is %s)", p.Node, q, own)
				}
			}
		}
	})
	t.Run("not masqueraded", func(t *testing.T) {
		w := newWorld(t, nstest.Uplink{})
		c := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"ipMasq": false})))
		for _, p := range w.Plans() {
			own := c.addr(p.Server)
			arrived := assert.Must(w.Server.Capture("eth0", toward(p.Server)))(t)
			answers := assert.Must(w.Server.Capture("eth0", toward(own)))(t)
			for _, probe := range w.probes(c, p) {
				if got := unanswered(t, arrived, probe.send, probe.is); got.Src != own {
					t.Errorf("%s: %v, want the container's own %s", probe.name, got, own)
				}
			}
			w.passes(p)
			if got := packets(t, answers); len(got) != 0 {
				t.Errorf("the server answered the container's own address %s: %v", own, got)
			}
		}
	})
}

// probe is one exchange with the server.
type probe struct {
	name string
	is   func(nstest.Packet) bool // the request
	send func(context.Context) error
}

// probes are one exchange of each protocol between a container and the server of a plan.
// The first call for a plan starts the servers.
func (w *world) probes(c *pod, p nstest.Plan) []probe {
	w.t.Helper()
	tcp, udp := w.servers(p.Server)
	icmp, echo := uint8(unix.IPPROTO_ICMP), uint8(8)
	if p.Server.Is6() {
		icmp, echo = unix.IPPROTO_ICMPV6, 128
	}
	return []probe{
		{
			"icmp echo", func(q nstest.Packet) bool { return q.Proto == icmp && q.ICMPType == echo },
			func(ctx context.Context) error {
				r, err := c.Ping(ctx, p.Server, nstest.PingOptions{})
				if err == nil && !r.Reply() {
					err = fmt.Errorf("answered by %+v", r)
				}
				return err
			},
		},
		{
			"tcp", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_TCP },
			func(ctx context.Context) error {
				_, err := c.Who(ctx, netip.AddrPort{}, tcp)
				return err
			},
		},
		{
			"udp", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_UDP },
			func(ctx context.Context) error { return c.EchoUDP(ctx, netip.AddrPort{}, udp, 100) },
		},
	}
}

// servers starts a server of each transport at an address of the server.
func (w *world) servers(a netip.Addr) (tcp, udp netip.AddrPort) {
	w.t.Helper()
	t, u := assert.Must(w.Server.ServeTCP(at(a, 0)))(w.t), assert.Must(w.Server.ServeUDP(at(a, 0)))(w.t)
	return t.Addr(), u.Addr()
}

// unanswered runs a send that gets no answer. It returns the first arrived packet for which
// is returns true.
func unanswered(t testing.TB, arrived *nstest.Capture, send func(context.Context) error, is func(nstest.Packet) bool) nstest.Packet {
	t.Helper()
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- send(ctx) }()
	got := assert.Must(arrived.WaitFor(ctx, is))(t)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v was answered: %v", got, err)
	}
	return got
}

// passes exchanges a packet with the server. Packets that either side had to send before
// have then been sent.
func (w *world) passes(p nstest.Plan) {
	w.t.Helper()
	if r := assert.Must(w.Node.Ping(soon(w.t), p.Server, nstest.PingOptions{}))(w.t); !r.Reply() {
		w.t.Fatalf("ping from the node to %s: %+v", p.Server, r)
	}
}

// toward returns a filter for packets to an address, without neighbor discovery.
func toward(a netip.Addr) func(nstest.Packet) bool {
	return func(p nstest.Packet) bool { return p.Dst == a && !neighbours(p) }
}

// neighbours reports whether a packet is neighbor discovery, which tests ignore.
func neighbours(p nstest.Packet) bool {
	return p.Proto == unix.IPPROTO_ICMPV6 && p.ICMPType >= 133 && p.ICMPType <= 137
}

// packets returns the packets of a capture, and fails if it lost any.
func packets(t testing.TB, c *nstest.Capture) []nstest.Packet {
	t.Helper()
	all := c.Packets()
	if n := c.Lost(); n != 0 {
		t.Fatalf("the capture lost %d packets", n)
	}
	return all
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
