package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// icmpError is an ICMP error about a packet.
func icmpError(src, dst netip.Addr, kind, code byte, about []byte) []byte {
	proto := byte(unix.IPPROTO_ICMP)
	if src.Is6() {
		proto = unix.IPPROTO_ICMPV6
	}
	const mtu = 1280 // MTU in the errors that carry one
	header := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, mtu)
	return nstest.IPPacket(src, dst, proto, append(header, about...), 2)
}

// TestForgedErrors: a container sends ICMP errors, with its own source, about a flow of
// another container. conntrack relates such an error to the flow that it quotes, so without
// the rules it would reach the far end as the victim's: the socket there would report an
// error, or the path MTU would fall. Errors of the victim itself arrive, translated.
func TestForgedErrors(t *testing.T) {
	errorsOf := map[bool][][2]byte{
		true:  {{3, 1}, {3, 3}, {3, 4}, {11, 0}, {12, 0}}, // RFC 792
		false: {{1, 0}, {1, 4}, {2, 0}, {3, 0}, {4, 0}},   // RFC 4443
	}
	for _, checked := range []bool{true, false} {
		t.Run(fmt.Sprintf("spoofCheck %v", checked), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"spoofCheck": checked}))
			attacker, victim := w.attach("attacker", list), w.attach("victim", list)
			sent := 0
			for _, p := range w.Plans() {
				own, theirs := attacker.addr(p.Server), victim.addr(p.Server)
				server := assert.Must(w.Server.ServeUDP(at(p.Server, 4242)))(t)
				assert.NoError(t, victim.EchoUDP(soon(t), at(theirs, 700), server.Addr(), 1))
				reply := nstest.UDPPacket(server.Addr(), at(theirs, 700), []byte("y"))
				arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && q.Src == p.Node }))(t)
				kinds := errorsOf[own.Is4()]
				of := func(q nstest.Packet, k [2]byte) bool { return q.ICMPType == k[0] && q.ICMPCode == k[1] }
				for _, k := range kinds {
					assert.NoError(t, attacker.SendRaw(icmpError(own, p.Server, k[0], k[1], reply)))
					sent++
					if !checked {
						assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return of(q, k) }))(t)
					}
				}
				if !checked {
					continue
				}
				assert.NoError(t, attacker.SendRaw(nstest.UDPPacket(at(own, 701), at(p.Server, 4343), nil)))
				assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == 4343 }))(t)
				until(t, "the forged errors are counted", func() bool { return w.counted("related/foreign") == sent })
				if got := packets(t, arrived); len(got) != 1 {
					t.Errorf("forged errors arrived: %v", got)
				}
				// The control: errors of the victim.
				for _, k := range kinds {
					assert.NoError(t, victim.SendRaw(icmpError(theirs, p.Server, k[0], k[1], reply)))
					assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return of(q, k) }))(t)
				}
			}
		})
	}
}
