package portpool

import (
	"math/rand/v2"
	"testing"
)

// TestRanks counts the ports of ranges with all edges of words.
func TestRanks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	set, all := new(ports), map[uint16]bool{}
	for _, port := range []uint16{0, 1, 63, 64, 127, 128, 65472, 65534, 65535} {
		set.add(port)
		all[port] = true
	}
	for range 2000 {
		port := uint16(r.Uint32())
		if set.add(port) == all[port] {
			t.Fatalf("port %d: new is %t", port, !all[port])
		}
		all[port] = true
	}
	var k ranks
	k.set(set)
	edges := []uint16{0, 1, 62, 63, 64, 65, 511, 512, 1023, 1024, 65471, 65472, 65534, 65535}
	for _, first := range edges {
		for _, last := range edges {
			if first > last {
				continue
			}
			want := 0
			for port := range all {
				if first <= port && port <= last {
					want++
				}
			}
			if got := k.within(set, []Range{{first, last}}); got != want {
				t.Errorf("%d-%d: %d, want %d", first, last, got, want)
			}
		}
	}
	set.remove(65535)
	if !set.add(65535) {
		t.Error("a removed port is still in the set")
	}
}
