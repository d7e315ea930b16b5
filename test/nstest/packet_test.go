package nstest

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

var (
	addr4a, addr4b = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2")
	addr6a, addr6b = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

func TestDecodeReadsWhatIsBuilt(t *testing.T) {
	payload := []byte("payload")
	for _, pair := range [][2]netip.Addr{{addr4a, addr4b}, {addr6a, addr6b}} {
		src, dst := at(pair[0], 1023), at(pair[1], 80)
		p := assert.Must(Decode(TCPPacket(Segment{src, dst, SYN | ACK, 1 << 31, 77, 172, payload})))(t)
		if p.Source() != src || p.Destination() != dst || p.TCPFlags != SYN|ACK || p.Seq != 1<<31 ||
			p.Ack != 77 || p.MSS != 172 || !bytes.Equal(p.Payload, payload) || p.TTL != 64 {
			t.Errorf("TCP: %v", p)
		}
		p = assert.Must(Decode(UDPPacket(src, dst, payload)))(t)
		if p.Source() != src || p.Destination() != dst || p.MSS != 0 || !bytes.Equal(p.Payload, payload) {
			t.Errorf("UDP: %v", p)
		}
		whole := EchoPacket(pair[0], pair[1], 5, 6, payload)
		p = assert.Must(Decode(whole))(t)
		if p.ICMPRest != 5<<16|6 || p.Length != len(whole) || !bytes.Equal(p.Payload, payload) {
			t.Errorf("ICMP: %v", p)
		}
		// As an ICMP error quotes it: the header and 8 bytes.
		p = assert.Must(Decode(TCPPacket(Segment{src, dst, SYN, 9, 0, 0, payload})[:len(whole)-len(payload)]))(t)
		if p.Source() != src || p.Destination() != dst || p.Seq != 9 || p.TCPFlags != 0 {
			t.Errorf("quote: %v", p)
		}
	}
}

func TestPacketString(t *testing.T) {
	p := assert.Must(Decode(TCPPacket(Segment{Src: at(addr4a, 1), Dst: at(addr4b, 2), Flags: SYN | ACK, MSS: 172})))(t)
	if got, want := p.String(), "192.0.2.1:1 > 198.51.100.2:2 tcp [S.] seq 0 mss 172 ttl 64 len 44"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestChecksum uses the example of RFC 1071, section 3.
func TestChecksum(t *testing.T) {
	if got := fold(add(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7})); got != ^uint16(0xddf2) {
		t.Errorf("got %#x", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(TCPPacket(Segment{Src: at(addr4a, 1), Dst: at(addr4b, 2), MSS: 1460}))
	f.Add(UDPPacket(at(addr6a, 1), at(addr6b, 2), []byte("x")))
	f.Add(EchoPacket(addr6a, addr6b, 1, 2, nil))
	// A second fragment after a hop-by-hop header.
	f.Add(append(UDPPacket(at(addr6a, 1), at(addr6b, 2), nil)[:40], 44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 5, 8, 0, 0, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		if len(p.Payload) > len(b) || !p.Src.IsValid() || p.Src.Is4() != p.Dst.Is4() {
			t.Errorf("%x: %v", b, p)
		}
		_ = p.String()
	})
}
