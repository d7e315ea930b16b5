package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestStrangeFrames: a container sends frames that its kernel would not send, with its own
// source and with the source of another container. Frames leave with the node's address or
// not at all. With the source check, frames with another source never leave.
func TestStrangeFrames(t *testing.T) {
	for _, mode := range []string{"main", "unchecked", "chained"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list, plans := w.conflist("1.0.0", w.masq().With(keys{"spoofCheck": mode == "main"})), w.Plans()
			if mode == "chained" {
				list, plans = w.conflist("1.0.0", w.linkByPTP(), w.behind()), plans[:1] // its link has only IPv4
			}
			a, victim := w.attach("a", list), w.attach("victim", list)
			for _, p := range plans {
				own := a.addr(p.Server)
				f := newFramer(t, w, a)
				left := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return !q.Outgoing && q.Dst == p.Server }))(t)
				// The payload of a frame is its name.
				frames := f.frames(own, p.Server, "own, ")
				if mode != "chained" { // only main mode checks sources
					maps.Copy(frames, f.frames(victim.addr(p.Server), p.Server, "forged, "))
				}
				for _, name := range slices.Sorted(maps.Keys(frames)) {
					if err := a.SendFrame("eth0", frames[name]); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				// The container still reaches the server, with the node's address.
				assert.NoError(t, a.SendFrame("eth0", nstest.Frame(f.usual(own), nstest.UDPPacket(at(own, 701), at(p.Server, 4343), []byte("end")))))
				assert.Must(left.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == 4343 }))(t)
				// The controls: unusual frames that the node accepts, and forged frames without the
				// check.
				usual := []string{"own, as usual", "own, priority tag", "own, two priority tags", "own, another source MAC"}
				if mode == "unchecked" {
					usual = append(usual, "forged, as usual", "forged, two priority tags")
				}
				for _, name := range usual {
					if _, err := left.WaitFor(soon(t), func(q nstest.Packet) bool { return string(q.Payload) == name }); err != nil {
						t.Errorf("%q does not leave the node: %v", name, err)
					}
				}
				for _, q := range packets(t, left) {
					if name := string(q.Payload); q.Src != p.Node || mode == "main" && strings.Contains(name, "forged") {
						t.Errorf("left the node: %v %q", q, name)
					}
				}
			}
		})
	}
}

// framer builds frames of a container.
type framer struct{ own, node net.HardwareAddr }

func newFramer(t *testing.T, w *world, p *pod) framer {
	t.Helper()
	return framer{assert.Must(p.HardwareAddr("eth0"))(t), assert.Must(w.Node.HardwareAddr(p.host()))(t)}
}

// usual returns the Ethernet header of a frame with an IP packet.
func (f framer) usual(src netip.Addr) nstest.Ethernet {
	e := nstest.Ethernet{Dst: f.node, Src: f.own, Type: unix.ETH_P_IP}
	if src.Is6() {
		e.Type = unix.ETH_P_IPV6
	}
	return e
}

// frames returns one UDP datagram in many encodings, by name. The payload is the name.
func (f framer) frames(src, dst netip.Addr, prefix string) map[string][]byte {
	out := map[string][]byte{}
	usual := f.usual(src)
	put := func(name string, e nstest.Ethernet, change func(packet []byte) []byte) {
		packet := nstest.UDPPacket(at(src, 700), at(dst, 4242), []byte(prefix+name))
		if change != nil {
			packet = change(packet)
		}
		out[prefix+name] = nstest.Frame(e, packet)
	}
	with := func(change func(*nstest.Ethernet)) nstest.Ethernet {
		e := usual
		change(&e)
		return e
	}
	tagged := func(tags ...nstest.Tag) nstest.Ethernet {
		return with(func(e *nstest.Ethernet) { e.Tags = tags })
	}
	put("as usual", usual, nil)
	put("priority tag", tagged(nstest.Tag{Type: unix.ETH_P_8021Q}), nil)
	put("two priority tags", tagged(nstest.Tag{Type: unix.ETH_P_8021AD}, nstest.Tag{Type: unix.ETH_P_8021Q}), nil)
	put("VLAN 1", tagged(nstest.Tag{Type: unix.ETH_P_8021Q, VLAN: 1}), nil)
	put("VLAN 7 in VLAN 5", tagged(nstest.Tag{Type: unix.ETH_P_8021AD, VLAN: 5}, nstest.Tag{Type: unix.ETH_P_8021Q, VLAN: 7}), nil)
	put("VLAN 1 in a priority tag", tagged(nstest.Tag{Type: unix.ETH_P_8021Q}, nstest.Tag{Type: unix.ETH_P_8021Q, VLAN: 1}), nil)
	put("another source MAC", with(func(e *nstest.Ethernet) { e.Src = net.HardwareAddr{2, 0, 0, 0, 0, 9} }), nil)
	put("the node's MAC as source", with(func(e *nstest.Ethernet) { e.Src = f.node }), nil)
	put("to another MAC", with(func(e *nstest.Ethernet) { e.Dst = net.HardwareAddr{2, 0, 0, 0, 0, 9} }), nil)
	put("to the broadcast MAC", with(func(e *nstest.Ethernet) { e.Dst = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }), nil)
	put("to a multicast MAC", with(func(e *nstest.Ethernet) { e.Dst = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} }), nil)
	for name, kind := range map[string]uint16{"MPLS": unix.ETH_P_MPLS_UC, "PPPoE": unix.ETH_P_PPP_SES, "ARP": unix.ETH_P_ARP, "a length": 100, "LLDP": 0x88cc, "loopback": unix.ETH_P_LOOP, "Ethernet in Ethernet": unix.ETH_P_TEB} {
		put("EtherType of "+name, with(func(e *nstest.Ethernet) { e.Type = kind }), nil)
	}
	put("EtherType of the other family", with(func(e *nstest.Ethernet) { e.Type ^= unix.ETH_P_IP ^ unix.ETH_P_IPV6 }), nil)
	put("cut in the IP header", usual, func(b []byte) []byte { return b[:15] })
	put("cut in the UDP header", usual, func(b []byte) []byte { return b[:len(b)-len(prefix)-len("cut in the UDP header")-3] })
	put("longer than it says", usual, func(b []byte) []byte { return append(b, make([]byte, 100)...) })
	put("empty", usual, func([]byte) []byte { return nil })
	if src.Is4() {
		strange4(func(name string, change func([]byte) []byte) { put(name, usual, change) })
	} else {
		strange6(func(name string, change func([]byte) []byte) { put(name, usual, change) })
	}
	return out
}

// sum4 fills the checksum of an IPv4 header.
func sum4(b []byte) []byte {
	header := min(int(b[0]&15)*4, len(b))
	b[10], b[11] = 0, 0
	sum := uint32(0)
	for i := 0; i+1 < header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if len(b) > 11 {
		binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	}
	return b
}

func strange4(put func(string, func([]byte) []byte)) {
	header := func(name string, change func(b []byte)) {
		put(name, func(b []byte) []byte { change(b); return sum4(b) })
	}
	header("version 5", func(b []byte) { b[0] = 0x55 })
	header("version 6", func(b []byte) { b[0] = 0x65 })
	header("header of 16 bytes", func(b []byte) { b[0] = 0x44 })
	header("header of 60 bytes", func(b []byte) { b[0] = 0x4f })
	header("total length 0", func(b []byte) { b[2], b[3] = 0, 0 })
	header("total length 19", func(b []byte) { b[2], b[3] = 0, 19 })
	header("total length 65535", func(b []byte) { b[2], b[3] = 0xff, 0xff })
	header("TTL 0", func(b []byte) { b[8] = 0 })
	header("TTL 1", func(b []byte) { b[8] = 1 })
	header("evil bit", func(b []byte) { b[6] = 0x80 })
	header("first fragment alone", func(b []byte) { b[6] = 0x20 })
	header("last fragment alone", func(b []byte) { b[7] = 1 })
	header("fragment past the end", func(b []byte) { b[6], b[7] = 0x1f, 0xff })
	header("protocol 0", func(b []byte) { b[9] = 0 })
	header("IPIP", func(b []byte) { b[9] = unix.IPPROTO_IPIP })
	header("ESP", func(b []byte) { b[9] = unix.IPPROTO_ESP })
	header("protocol 255", func(b []byte) { b[9] = 255 })
	put("wrong checksum of the header", func(b []byte) []byte { b[10] ^= 0xff; return b })
	for name, option := range map[string][]byte{
		"loose source route":  {131, 7, 4, 198, 51, 100, 2, 0},
		"strict source route": {137, 7, 4, 198, 51, 100, 2, 0},
		"record route":        {7, 7, 4, 0, 0, 0, 0, 0},
		"timestamps":          {68, 8, 5, 0, 0, 0, 0, 0},
		"router alert":        {148, 4, 0, 0},
		"security label":      {134, 8, 0, 0, 0, 1, 0, 0},
		"option of length 0":  {7, 0, 0, 0},
		"option past the end": {7, 200, 4, 0},
		"unknown option":      {0x9e, 4, 1, 2},
	} {
		put(name, func(b []byte) []byte {
			b = slices.Concat(b[:20], option, b[20:])
			b[0] = 0x40 | byte((20+len(option))/4)
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			return sum4(b)
		})
	}
}

func strange6(put func(string, func([]byte) []byte)) {
	header := func(name string, change func(b []byte)) {
		put(name, func(b []byte) []byte { change(b); return b })
	}
	header("version 4", func(b []byte) { b[0] = 0x45 })
	header("version 7", func(b []byte) { b[0] = 0x70 })
	header("payload length 0", func(b []byte) { b[4], b[5] = 0, 0 })
	header("payload length 3", func(b []byte) { b[4], b[5] = 0, 3 })
	header("payload length 65535", func(b []byte) { b[4], b[5] = 0xff, 0xff })
	header("hop limit 0", func(b []byte) { b[7] = 0 })
	header("hop limit 1", func(b []byte) { b[7] = 1 })
	header("no next header", func(b []byte) { b[6] = 59 })
	header("unknown next header", func(b []byte) { b[6] = 253 })
	header("IPv6 in IPv6", func(b []byte) { b[6] = unix.IPPROTO_IPV6 })
	header("ESP", func(b []byte) { b[6] = unix.IPPROTO_ESP })
	header("AH", func(b []byte) { b[6] = unix.IPPROTO_AH })
	extended := func(name string, headers ...extension) {
		put(name, func(b []byte) []byte {
			next, chain := b[6], []byte{}
			for i := range headers {
				h := headers[len(headers)-1-i]
				chain = slices.Concat([]byte{next}, h.body, chain)
				next = h.kind
			}
			b = slices.Concat(b[:40], chain, b[40:])
			b[6] = next
			binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
			return b
		})
	}
	const hopByHop, routing, fragment, destination, mobility, hip = 0, 43, 44, 60, 135, 139
	pad := []byte{0, 1, 4, 0, 0, 0, 0}
	fragmentOf := func(at uint16) []byte { return binary.BigEndian.AppendUint32([]byte{0, byte(at >> 8), byte(at)}, 77) }
	extended("hop-by-hop options", extension{hopByHop, pad})
	extended("router alert", extension{hopByHop, []byte{0, 5, 2, 0, 0, 1, 0}})
	extended("jumbo payload", extension{hopByHop, []byte{0, 0xc2, 4, 0, 1, 0, 0}})
	extended("option that asks for an error", extension{hopByHop, []byte{0, 0xbe, 4, 0, 0, 0, 0}})
	extended("option past the end", extension{hopByHop, []byte{0, 1, 200, 0, 0, 0, 0}})
	extended("options past the end", extension{hopByHop, []byte{255, 1, 4, 0, 0, 0, 0}})
	extended("destination options", extension{destination, pad})
	extended("home address", extension{destination, slices.Concat([]byte{2, 1, 2, 0, 0, 0xc9, 16}, netip.MustParseAddr("2001:db8:7::7").AsSlice())})
	extended("hop-by-hop options after others", extension{destination, pad}, extension{hopByHop, pad})
	for _, kind := range []byte{0, 2, 3, 4, 253} {
		via := netip.MustParseAddr("2001:db8:2::2").AsSlice()
		extended(fmt.Sprintf("routing header of type %d", kind), extension{routing, slices.Concat([]byte{2, kind, 1, 0, 0, 0, 0}, via)})
		extended(fmt.Sprintf("routing header of type %d that is done", kind), extension{routing, slices.Concat([]byte{2, kind, 0, 0, 0, 0, 0}, via)})
	}
	extended("atomic fragment", extension{fragment, fragmentOf(0)})
	extended("two atomic fragments", extension{fragment, fragmentOf(0)}, extension{fragment, fragmentOf(0)})
	extended("first fragment alone", extension{fragment, fragmentOf(1)})
	extended("last fragment alone", extension{fragment, fragmentOf(8)})
	extended("fragment of options", extension{fragment, fragmentOf(0)}, extension{destination, pad})
	extended("mobility header", extension{mobility, pad})
	extended("HIP", extension{hip, pad})
	var many []extension
	for range 40 {
		many = append(many, extension{destination, pad})
	}
	extended("forty headers", many...)
}

// extension is an IPv6 extension header without its first byte, the next header.
type extension struct {
	kind byte
	body []byte
}
