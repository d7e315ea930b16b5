package portpool

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

func sourceAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}) }

// TestHolders returns the sources with the most ports. With up to maxSources sources the
// numbers are exact. With thousands of sources the largest ones are found, and their numbers
// are never too high.
func TestHolders(t *testing.T) {
	for _, sources := range []int{1, 3, maxSources, 5000} {
		g := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[0], Destination: remote[0], Port: 53}
		have := map[netip.Addr]int{}
		var flows []conntrack.Flow
		for i := range 60_000 {
			at := 0 // half of the ports belong to the first three
			if i%2 == 0 {
				at = i % sources
			} else if sources >= 3 {
				at = i / 2 % 6 * 2 / 5 // 1/2, 1/3, 1/6
			}
			from := sourceAddr(at)
			have[from]++
			flows = append(flows, flowOf(netip.AddrPortFrom(from, uint16(1024+i)), g, uint16(1024+i)))
		}
		r := rand.New(rand.NewPCG(1, uint64(sources)))
		r.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
		c := newTestCounter(Options{Groups: 2, Holders: 3})
		for range 2 { // the second dump does not add to the first
			usages, _, _ := count(t, c, pods(), flows)
			got := usages[0].Holders
			if len(got) != min(3, sources) {
				t.Fatalf("%d sources: %v", sources, got)
			}
			if !slices.IsSortedFunc(got, func(a, b Holder) int { return b.Ports - a.Ports }) {
				t.Errorf("%d sources: %v", sources, got)
			}
			for i, h := range got {
				exact := sources <= maxSources
				if n := have[h.Source]; h.Ports > n || exact && h.Ports != n || !exact && h.Ports < n*8/10 {
					t.Errorf("%d sources: %v has %d ports", sources, h, n)
				}
				if sources >= 3 && h.Source != sourceAddr(i) {
					t.Errorf("%d sources: holder %d is %v", sources, i, h)
				}
			}
		}
	}
}

// TestHoldersOfPool: a source that draws from another pool, and the node's own flows, hold
// no port of the fullest pool.
func TestHoldersOfPool(t *testing.T) {
	g := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[0], Destination: remote[0], Port: 53}
	var flows []conntrack.Flow
	for i := range 30 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), uint16(4000+i)), g, uint16(30000+i)))
	}
	for i := range 4 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.1"), uint16(3000+i)), g, uint16(20000+i)))
	}
	flows = append(flows, flowOf(netip.AddrPortFrom(g.Egress, 20009), g, 20009))
	c := newTestCounter(Options{Groups: 2, Holders: 3})
	usages, _, _ := count(t, c, pods(), flows)
	if u := usages[0]; u.Usable != 20 || u.Used != 15 || !slices.Equal(u.Holders, []Holder{{addr("10.0.0.1"), 4}}) {
		t.Errorf("%+v", u)
	}
	if usages, _, _ := count(t, newTestCounter(Options{Groups: 2}), pods(), flows); usages[0].Holders != nil {
		t.Errorf("holders without Options.Holders: %+v", usages[0])
	}
}
