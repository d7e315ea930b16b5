package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestFragments sends 3,000 bytes in one datagram and back. Only the first fragment has
// ports, so the node must reassemble the datagram, translate it and fragment it again, in
// both directions. The narrow link needs more fragments than the sender made.
func TestFragments(t *testing.T) {
	const size = 3000
	for _, c := range []struct {
		uplink, container int
		least             []int // fragments, by family
	}{
		{1500, 0, []int{3, 3}},
		{1280, 0, []int{3, 3}},
		{1280, 1500, []int{3, 3}},
		// 192 bytes after each IPv4 header, a multiple of 8.
		{212, 1500, []int{16}},
		{212, 0, []int{16}},
	} {
		t.Run(fmt.Sprintf("uplink %d, mtu %d", c.uplink, c.container), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{MTU: c.uplink})
			conf := w.masq().With(keys{"mtu": c.container})
			here := w.attach("here", w.conflist("1.1.0", conf))
			bare := w.attach("bare", w.conflist("1.1.0", conf.With(keys{"ipMasq": false})))
			for i, p := range w.Plans() {
				_, udp := w.servers(p.Server)
				if p.Server.Is6() && c.uplink < 1500 {
					// Routers do not fragment IPv6: a host with a wider link learns of the narrow link when
					// a packet is dropped there.
					learns(t, w.Server, p.Node)
					if c.container > c.uplink {
						learns(t, here.NS, p.Server)
						learns(t, bare.NS, p.Server)
					}
				}
				both := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Proto == unix.IPPROTO_UDP }))(t)
				if err := here.EchoUDP(soon(t), netip.AddrPort{}, udp, size); err != nil {
					t.Errorf("%d bytes to %s and back: %v", size, udp, err)
				}
				there, back := split(packets(t, both))
				wantFragments(t, there, p.Node, size, c.least[i])
				for _, q := range back {
					if q.Dst != p.Node {
						t.Errorf("answered to %s: %v", q.Dst, q)
					}
				}
				if len(back) < 3 {
					t.Errorf("the answer was not in fragments: %v", back)
				}

				// The control: untranslated, the same datagram arrives, and its answer is lost.
				own := bare.addr(p.Server)
				arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.Src == own && q.Proto == unix.IPPROTO_UDP }))(t)
				send := func(ctx context.Context) error { return bare.EchoUDP(ctx, netip.AddrPort{}, udp, size) }
				unanswered(t, arrived, send, func(q nstest.Packet) bool { return q.FragOffset > 0 && !q.MoreFragments })
				wantFragments(t, packets(t, arrived), own, size, c.least[i])
			}
		})
	}
}

// learns has a host discover that the path MTU to an address is smaller than the MTU of
// its link.
func learns(t testing.TB, n *nstest.NS, dst netip.Addr) {
	t.Helper()
	if r := assert.Must(n.Ping(soon(t), dst, nstest.PingOptions{Size: 1400}))(t); !r.TooBig() {
		t.Fatalf("1400 bytes from %s to %s: %+v", n.Name(), dst, r)
	}
}

// split separates received from sent packets.
func split(all []nstest.Packet) (in, out []nstest.Packet) {
	for _, p := range all {
		if p.Outgoing {
			out = append(out, p)
		} else {
			in = append(in, p)
		}
	}
	return in, out
}

// wantFragments checks that packets are one complete datagram of size bytes from one
// address, in at least this number of fragments.
func wantFragments(t testing.TB, got []nstest.Packet, src netip.Addr, size, least int) {
	t.Helper()
	if len(got) < least {
		t.Errorf("%d fragments, want at least %d: %v", len(got), least, got)
	}
	got = slices.Clone(got)
	slices.SortFunc(got, func(a, b nstest.Packet) int { return cmp.Compare(a.FragOffset, b.FragOffset) })
	next := 0
	for i, p := range got {
		if p.Src != src || p.FragOffset != next || p.MoreFragments != (i < len(got)-1) {
			t.Errorf("fragment %d is %v, want it from %s at %d", i, p, src, next)
		}
		next += len(p.Payload)
		if i == 0 {
			next += 8 // UDP header
		}
	}
	if next != size+8 {
		t.Errorf("the fragments are %d bytes, want %d", next, size+8)
	}
}
