package probe

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPacket decodes packets by another decoder, and verifies that their checksums are right.
func TestPacket(t *testing.T) {
	for _, c := range []struct {
		from, to string
		udp      bool
		smallest int
	}{
		{"192.0.2.1", "198.51.100.7:443", false, 44},
		{"192.0.2.1", "198.51.100.7:53", true, 28},
		{"2001:db8::1", "[2001:db8::7]:443", false, 64},
		{"2001:db8::1", "[2001:db8::7]:53", true, 48},
	} {
		target := Target{Address: netip.MustParseAddrPort(c.to), UDP: c.udp}
		from := netip.MustParseAddr(c.from)
		for size, want := range map[int]int{0: c.smallest, c.smallest + 17: c.smallest + 17, 1500: 1500} {
			b := target.packet(from, 50000, 9, size)
			p, err := nstest.Decode(b)
			if err != nil || p.Length != want || len(b) != want || p.TTL != 9 || p.Source() != netip.AddrPortFrom(from, 50000) || p.Destination() != target.Address {
				t.Errorf("%s, size %d: %v, %v", c.to, size, p, err)
			}
			if !c.udp && (p.TCPFlags != nstest.SYN || p.MSS != synMSS) || p.DontFragment != from.Is4() {
				t.Errorf("%s: %v", c.to, p)
			}
			proto, _, body, ok := ipHeader(b)
			sum := add(add(add(uint32(proto)+uint32(len(body)), from.AsSlice()), target.Address.Addr().AsSlice()), body)
			if !ok || fold(sum) != 0 {
				t.Errorf("%s, size %d: the checksum is wrong", c.to, size)
			}
		}
	}
}

// FuzzParse: no packet from outside makes the parsers fail.
func FuzzParse(f *testing.F) {
	four := Target{Address: netip.MustParseAddrPort("198.51.100.7:443")}
	six := Target{Address: netip.MustParseAddrPort("[2001:db8::7]:443"), UDP: true}
	for _, t := range []Target{four, six} {
		quoted := t.packet(netip.IPv6LinkLocalAllNodes(), 50000, 9, 0)
		f.Add(append([]byte{3, 4, 0, 0, 0, 0, 2, 0}, quoted...))
		f.Add(quoted)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, x := range []Target{four, six} {
			x.parseICMP(b, x.Address.Addr())
			x.parseTCP(b)
		}
		ipHeader(b)
	})
}

func TestParseICMP(t *testing.T) {
	four := Target{Address: netip.MustParseAddrPort("198.51.100.7:443")}
	six := Target{Address: netip.MustParseAddrPort("[2001:db8::7]:443"), UDP: true}
	router4, router6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	source := map[bool]netip.Addr{true: netip.MustParseAddr("10.0.0.1"), false: netip.MustParseAddr("2001:db8::1")}
	for name, c := range map[string]struct {
		target Target
		head   []byte
		from   netip.Addr
		want   Answer
	}{
		"fragmentation needed":    {four, []byte{3, 4, 0, 0, 0, 0, 2, 0}, router4, Answer{Kind: TooBig, From: router4, MTU: 512, Code: 4}},
		"time exceeded":           {four, []byte{11, 0, 0, 0, 0, 0, 0, 0}, router4, Answer{Kind: Expired, From: router4}},
		"prohibited":              {four, []byte{3, 13, 0, 0, 0, 0, 0, 0}, router4, Answer{Kind: Unreachable, From: router4, Code: 13}},
		"port, by a router":       {four, []byte{3, 3, 0, 0, 0, 0, 0, 0}, router4, Answer{Kind: Unreachable, From: router4, Code: 3}},
		"port, by the target":     {four, []byte{3, 3, 0, 0, 0, 0, 0, 0}, four.Address.Addr(), Answer{Kind: Closed, From: four.Address.Addr(), Code: 3}},
		"echo reply":              {four, []byte{0, 0, 0, 0, 0, 0, 0, 0}, router4, Answer{}},
		"packet too big":          {six, []byte{2, 0, 0, 0, 0, 0, 5, 0}, router6, Answer{Kind: TooBig, From: router6, MTU: 1280}},
		"time exceeded, IPv6":     {six, []byte{3, 0, 0, 0, 0, 0, 0, 0}, router6, Answer{Kind: Expired, From: router6}},
		"port of the target":      {six, []byte{1, 4, 0, 0, 0, 0, 0, 0}, six.Address.Addr(), Answer{Kind: Closed, From: six.Address.Addr(), Code: 4}},
		"neighbor advertisement":  {six, []byte{136, 0, 0, 0, 0, 0, 0, 0}, router6, Answer{}},
		"prohibited, IPv6":        {six, []byte{1, 1, 0, 0, 0, 0, 0, 0}, router6, Answer{Kind: Unreachable, From: router6, Code: 1}},
		"about another transport": {Target{Address: four.Address, UDP: true}, []byte{3, 4, 0, 0, 0, 0, 2, 0}, router4, Answer{}},
	} {
		quoted := c.target.packet(source[c.target.is4()], 50000, 9, 0)
		if name == "about another transport" {
			quoted = four.packet(source[true], 50000, 9, 0)
		}
		got, port, ok := c.target.parseICMP(append(c.head, quoted...), c.from)
		if got != c.want || ok != (c.want != Answer{}) || ok && port != 50000 {
			t.Errorf("%s: %+v, port %d, %v; want %+v", name, got, port, ok, c.want)
		}
	}
}

// TestNextSize checks that a search finds each MTU with few packets, and a common MTU with fewer.
// A size that passes costs two packets, another one.
func TestNextSize(t *testing.T) {
	for mtu := 60; mtu < 1500; mtu++ {
		low, high, packets := 60, 1500, 0
		for high-low > 1 {
			size := nextSize(low, high)
			if size <= low || size >= high {
				t.Fatalf("between %d and %d: %d", low, high, size)
			}
			if size <= mtu {
				low, packets = size, packets+2
			} else {
				high, packets = size, packets+1
			}
		}
		limit := 22
		if slices.Contains(commonMTUs, mtu) {
			limit = 8
		}
		if low != mtu || packets > limit {
			t.Errorf("MTU %d: found %d with %d packets, at most %d are allowed", mtu, low, packets, limit)
		}
	}
}
