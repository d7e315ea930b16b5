package main

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Equal flows would be refused, or would get another port than requested.
func TestFlowsAreDistinct(t *testing.T) {
	type far struct {
		proto       uint8
		egress, dst netip.AddrPort
	}
	tuples, leaving := map[conntrack.Tuple]bool{}, map[far]bool{}
	perSource := map[netip.Addr]int{}
	for i := range tracked {
		f, egress := flowNumber(i)
		tuples[f.Original] = true
		leaving[far{f.Original.Proto, egress, netip.AddrPortFrom(f.Original.Dst, f.Original.DstPort)}] = true
		perSource[f.Original.Src]++
	}
	if len(tuples) != tracked || len(leaving) != tracked {
		t.Errorf("%d tuples and %d translated ones of %d flows", len(tuples), len(leaving), tracked)
	}
	addr := netip.MustParseAddr("10.64.0.2") // the first address of populate
	for i := range level2 {
		if perSource[addr] != tracked/level2 {
			t.Errorf("attachment %d, %s, has %d flows", i, addr, perSource[addr])
		}
		addr = addr.Next()
	}
}

func TestMessagesSayTheirLength(t *testing.T) {
	var b []byte
	for i := range 3 {
		f, egress := flowNumber(i)
		b = appendNew(b, &f, egress)
	}
	n := 0
	for ; len(b) > 0; n++ {
		size := int(binary.NativeEndian.Uint32(b))
		if size < 20 || size > len(b) || size%4 != 0 {
			t.Fatalf("message %d of %d bytes, %d are left", n, size, len(b))
		}
		b = b[size:]
	}
	if n != 3 {
		t.Errorf("%d messages", n)
	}
}
