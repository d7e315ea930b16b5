package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// many are n flows of TCP and UDP from 250 sources, one in five of IPv6.
func many(n int) []entry {
	all := make([]entry, n)
	for i := range all {
		t := Tuple{Proto: unix.IPPROTO_TCP, SrcPort: uint16(1024 + i/250%60000), DstPort: 443}
		if i%3 == 0 {
			t.Proto = unix.IPPROTO_UDP
		}
		var dst [4]byte
		binary.BigEndian.PutUint32(dst[:], 0xc6120000|uint32(i)>>8)
		if i%5 == 0 {
			t.Src = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i % 250)})
			t.Dst = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 12: dst[0], 13: dst[1], 14: dst[2], 15: dst[3]})
		} else {
			t.Src, t.Dst = netip.AddrFrom4([4]byte{10, 88, 0, byte(i % 250)}), netip.AddrFrom4(dst)
		}
		all[i] = flowOf(t)
	}
	return all
}
