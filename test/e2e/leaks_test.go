package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInvalidPackets: a packet that conntrack calls invalid is not translated, so it would
// leave with the container's address. It is dropped and counted.
func TestInvalidPackets(t *testing.T) {
	for _, drop := range []bool{true, false} {
		t.Run(fmt.Sprintf("dropInvalid %v", drop), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			c := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"dropInvalid": drop})))
			for i, p := range w.Plans() {
				own := c.addr(p.Server)
				srv, _ := w.servers(p.Server)
				opened := assert.Must(c.Capture("eth0", func(q nstest.Packet) bool { return q.Outgoing && q.TCPFlags == nstest.SYN }))(t)
				conn := assert.Must(c.Dial(soon(t), "tcp", netip.AddrPort{}, srv))(t)
				defer func() { _ = conn.Close() }()
				begin := assert.Must(opened.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)

				private := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == own }))(t)
				passed := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Src == p.Node && isPing(q) }))(t)
				invalid := invalidPackets(own, p.Server, begin)
				for name, packet := range invalid {
					if err := c.SendRaw(packet); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				if drop {
					assert.Must(c.Ping(soon(t), p.Server, nstest.PingOptions{}))(t)
					assert.Must(passed.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t)
					if got := packets(t, private); len(got) != 0 {
						t.Errorf("left with the container's address: %v", got)
					}
					if n := w.counted([]string{"invalid/drop4", "invalid/drop6"}[i]); n != len(invalid) {
						t.Errorf("%d packets counted, %d were sent", n, len(invalid))
					}
				} else {
					got, err := private.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == len(invalid) })
					if err != nil {
						t.Errorf("only %v left: %v", got, err)
					}
				}
				// The connection that some of the packets imitated is unaffected.
				works(t, conn)
			}
		})
	}
}

// invalidPackets returns packets without a flow. One belongs to the connection that syn
// began and has a sequence number outside the window, like packets of a connection that
// the node has forgotten.
func invalidPackets(src, dst netip.Addr, syn nstest.Packet) map[string][]byte {
	segment := func(flags nstest.TCPFlags) []byte {
		return nstest.TCPPacket(nstest.Segment{Src: at(src, 5555), Dst: at(dst, 9), Flags: flags, Seq: 1000, Ack: 2000})
	}
	header := 40
	if src.Is4() {
		header = 20
	}
	corrupt := segment(nstest.SYN)
	corrupt[header+16] ^= 0xff // the checksum

	reply := nstest.EchoPacket(src, dst, 5555, 1, nil)
	reply[header] = map[int]byte{20: 0, 40: 129}[header]
	was := map[int]uint16{20: 8 << 8, 40: 128 << 8}[header]
	sum := binary.BigEndian.Uint16(reply[header+2:])
	binary.BigEndian.PutUint16(reply[header+2:], changed(sum, was, uint16(reply[header])<<8))

	return map[string][]byte{
		"a reset out of nowhere":        segment(nstest.RST | nstest.ACK),
		"a bare reset":                  segment(nstest.RST),
		"an end without a beginning":    segment(nstest.FIN | nstest.ACK),
		"a SYN-ACK without a SYN":       segment(nstest.SYN | nstest.ACK),
		"SYN and FIN":                   segment(nstest.SYN | nstest.FIN),
		"no flags":                      segment(0),
		"a wrong checksum":              corrupt,
		"an echo reply without request": reply,
		"out of the window": nstest.TCPPacket(nstest.Segment{
			Src: syn.Source(), Dst: syn.Destination(), Flags: nstest.ACK, Seq: syn.Seq + 1<<30, Ack: 1, Payload: []byte("stray"),
		}),
	}
}

// changed updates a checksum after one of its words has changed (RFC 1624).
func changed(sum, was, is uint16) uint16 {
	s := uint32(^sum) + uint32(^was) + uint32(is)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// TestOtherProtocols: a protocol that neither conntrack nor the plugin knows leaves with
// the node's address too.
func TestOtherProtocols(t *testing.T) {
	const experiment, encapsulation = 253, 47 // RFC 3692, RFC 2784
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("ipMasq %v", on), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			c := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"ipMasq": on})))
			for _, p := range w.Plans() {
				own, want := c.addr(p.Server), c.addr(p.Server)
				if on {
					want = p.Node
				}
				arrived := assert.Must(w.Server.Capture("eth0", toward(p.Server)))(t)
				for _, proto := range []uint8{experiment, encapsulation} {
					packet := nstest.UDPPacket(at(own, 0), at(p.Server, 0), []byte("strange"))
					if own.Is4() {
						packet[9] = proto
					} else {
						packet[6] = proto
					}
					assert.NoError(t, c.SendRaw(packet))
					got, err := arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.Proto == proto })
					if err != nil || got.Src != want {
						t.Errorf("%v, %v; want it from %s", got, err, want)
					}
				}
			}
		})
	}
}

// TestSpoofedSources: a container cannot send to any destination with an address that is
// not its own, whether of another container or of another host.
func TestSpoofedSources(t *testing.T) {
	const port = 4242
	for _, checked := range []bool{true, false} {
		t.Run(fmt.Sprintf("spoofCheck %v", checked), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"spoofCheck": checked}))
			c, victim := w.attach("a", list), w.attach("victim", list)
			spoofed := 0
			for i, p := range w.Plans() {
				own := c.addr(p.Server)
				stranger := netip.MustParseAddr([]string{"203.0.113.7", "2001:db8:7::7"}[i])
				vacant := netip.MustParseAddr([]string{"10.88.200.1", "fd00:88::beef"}[i])
				// The source with which each packet arrives, if it does.
				outside := map[netip.Addr]netip.Addr{
					stranger: stranger, vacant: vacant, victim.addr(own): p.Node,
				}
				inside := map[netip.Addr]netip.Addr{
					stranger: stranger, vacant: vacant, victim.addr(own): victim.addr(own),
				}
				if own.Is6() {
					outside[p.Node], inside[p.Node] = p.Node, p.Node // IPv4 has no such packet in
				}
				for _, to := range []struct {
					dst      netip.Addr
					ns       *nstest.NS
					iface    string
					seen     map[netip.Addr]netip.Addr
					ownShown netip.Addr
				}{
					{p.Server, w.Router, "tonode", outside, p.Node},
					{victim.addr(own), victim.NS, "eth0", inside, own},
				} {
					arrived := assert.Must(to.ns.Capture(to.iface, func(q nstest.Packet) bool {
						return q.Dst == to.dst && q.DstPort == port
					}))(t)
					for src := range to.seen {
						assert.NoError(t, c.SendRaw(nstest.UDPPacket(at(src, 700), at(to.dst, port), src.AsSlice())))
						spoofed++
					}
					// The control: packets with the container's own address arrive.
					assert.NoError(t, c.SendRaw(nstest.UDPPacket(at(own, 700), at(to.dst, port), own.AsSlice())))
					got := assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return string(q.Payload) == string(own.AsSlice()) }))(t)
					if got.Src != to.ownShown {
						t.Errorf("the container's own: %v, want %s", got, to.ownShown)
					}
					if checked {
						if got := packets(t, arrived); len(got) != 1 {
							t.Errorf("%d spoofed packets reached %s: %v", len(got)-1, to.dst, got)
						}
						continue
					}
					for src, shown := range to.seen {
						got := assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return string(q.Payload) == string(src.AsSlice()) }))(t)
						if got.Src != shown {
							t.Errorf("with the address %s: %v, want it from %s", src, got, shown)
						}
					}
				}
			}
			if !checked {
				spoofed = 0
			}
			if n := w.counted("sources/spoofed"); n != spoofed {
				t.Errorf("%d packets counted, want %d", n, spoofed)
			}
		})
	}
}

// works checks that a TCPServer answers on an open connection.
func works(t testing.TB, conn net.Conn) {
	t.Helper()
	deadline, _ := soon(t).Deadline()
	assert.NoError(t, conn.SetDeadline(deadline))
	assert.Must(io.WriteString(conn, "WHO\n"))(t)
	if line := assert.Must(io.ReadAll(conn))(t); len(line) == 0 {
		t.Errorf("no answer from %s", conn.RemoteAddr())
	}
}

// counted returns the number of packets that the rules with an ID have counted.
func (w *world) counted(id string) int {
	w.t.Helper()
	var listing struct {
		Nftables []struct {
			Rule struct {
				Comment string
				Expr    []json.RawMessage
			}
		}
	}
	assert.NoError(w.t, json.Unmarshal([]byte(w.nodeRun("nft", "-j", "list", "table", "inet", "masq")), &listing))
	packets, found := 0, false
	for _, o := range listing.Nftables {
		if o.Rule.Comment != id {
			continue
		}
		for _, raw := range o.Rule.Expr {
			var expr struct{ Counter *struct{ Packets int } }
			if json.Unmarshal(raw, &expr) == nil && expr.Counter != nil {
				packets += expr.Counter.Packets
				found = true
			}
		}
	}
	if !found {
		w.t.Fatalf("no rule %s with a counter", id)
	}
	return packets
}
