package portpool

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// newTestCounter returns a Counter with a fixed hash: how many dumps it needs depends on the
// collisions, which are the same in each run then.
func newTestCounter(o Options) *Counter {
	c := NewCounter(o)
	c.hash = func(k key) (h uint64) {
		for _, word := range k { // SplitMix64
			h += word + 0x9e3779b97f4a7c15
			h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
			h = (h ^ h>>27) * 0x94d049bb133111eb
			h ^= h >> 31
		}
		return h
	}
	return c
}

// FuzzCounter compares a Counter with the model, for tables in which all groups are tracked
// and for tables in which most are not.
func FuzzCounter(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint16(seed*37), uint8(seed%4*40+1))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, most uint8) {
		reuses := seed&1 != 0
		r := rand.New(rand.NewPCG(seed, 0))
		flows := randomFlows(r, int(n)%4096)
		p := pods()
		want := modelReusing(flows, p, reuses)
		c := newTestCounter(Options{Groups: int(most), ReusesClosed: reuses})
		most = max(most, 1)
		for range 3 {
			r.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
			// Ports outside their pool make a group seem fuller than it is, until it is
			// tracked.
			got, _, _ := countWithin(t, 8, c, p, flows)
			checkUsages(t, got, want, int(most))
		}
	})
}

// heavyTail returns n flows: a few groups with many flows, and many groups with one each.
func heavyTail(r *rand.Rand, n, heavy int) []conntrack.Flow {
	out := make([]conntrack.Flow, 0, n)
	for i := range n {
		g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Port: 443}
		var b [4]byte
		port := uint16(1024 + i%64512)
		if i%4 != 0 {
			// Group k has about twice as many flows as group 2k.
			at := min(int(float64(heavy)*r.Float64()*r.Float64()), heavy-1)
			binary.BigEndian.PutUint32(b[:], 0xc6336400|uint32(at))
			port = uint16(1024 + r.IntN(64512))
		} else {
			binary.BigEndian.PutUint32(b[:], 0xcb000000|uint32(i))
		}
		g.Destination = netip.AddrFrom4(b)
		from := addr("10.0.0.3")
		if i%30 == 0 {
			from, port = addr("10.0.0.2"), 20000+port%1000
		}
		out = append(out, flowOf(netip.AddrPortFrom(from, uint16(2000+i%60000)), g, port))
	}
	r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// TestManyGroups counts far more groups than can be tracked.
func TestManyGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flows := heavyTail(r, 100_000, 64)
	p := pods()
	want := model(flows, p)
	const most = 20
	c := newTestCounter(Options{Groups: most})
	got, unlisted, dumps := count(t, c, p, flows)
	checkUsages(t, got, want, most)
	if dumps != 2 || len(want) < 20_000 {
		t.Errorf("%d dumps for %d groups", dumps, len(want))
	}
	if unlisted < want[most].Share() || unlisted > want[most-1].Share() {
		t.Errorf("other groups have at most %v, the next one has %v", unlisted, want[most].Share())
	}

	// For comparison: one dump of unknown groups is not exact.
	first := newTestCounter(Options{Groups: most})
	first.Begin(p)
	for i := range flows {
		first.Add(&flows[i])
	}
	if _, _, exact := first.End(); exact {
		t.Error("one dump is reported as exact")
	}

	// After that one dump is enough, also if another group becomes the fullest.
	got, _, dumps = count(t, c, p, flows)
	checkUsages(t, got, want, most)
	if dumps != 1 {
		t.Errorf("%d dumps of known groups", dumps)
	}
	rising := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[1], Destination: remote[0], Port: 53}
	for i := range 30_000 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.77.0.1"), 5555), rising, uint16(2000+i)))
	}
	got, _, _ = count(t, c, p, flows)
	checkUsages(t, got, model(flows, p), most)
	if got[0].Group != rising || got[0].Used != 30_000 {
		t.Errorf("the fullest is %+v", got[0])
	}
	// The group is no longer among the fullest.
	flows = flows[:len(flows)-30_000]
	got, _, _ = count(t, c, p, flows)
	checkUsages(t, got, want, most)
}

// TestRepeatedFlows: a dump may return a flow twice.
func TestRepeatedFlows(t *testing.T) {
	flows := randomFlows(rand.New(rand.NewPCG(7, 7)), 3000)
	p := pods()
	want := model(flows, p)
	c := newTestCounter(Options{Groups: 100})
	got, _, _ := count(t, c, p, append(slices.Clone(flows), flows[:len(flows)/2]...))
	checkUsages(t, got, want, 100)
}

// TestEqualGroups: if all groups are equally full, some are returned, and the bound of the
// others is not above them.
func TestEqualGroups(t *testing.T) {
	var flows []conntrack.Flow
	for i := range 5000 {
		g := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[0], Destination: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 53}
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, 4000))
	}
	p := pods()
	c := newTestCounter(Options{Groups: 10})
	for range 3 {
		c.Begin(p)
		for i := range flows {
			c.Add(&flows[i])
		}
		usages, unlisted, _ := c.End()
		if len(usages) != 10 || usages[0].Used != 1 || usages[9].Used != 1 || unlisted < usages[9].Share() {
			t.Fatalf("%d groups, %+v, others have at most %v", len(usages), usages, unlisted)
		}
	}
}

// TestPolicyChanges: tracked groups stay tracked under other policies.
func TestPolicyChanges(t *testing.T) {
	flows := randomFlows(rand.New(rand.NewPCG(3, 3)), 2000)
	c := newTestCounter(Options{Groups: 100})
	for range 3 {
		for _, p := range []*Pools{pods(), PoolsOf(nil, nil, defaultPolicy)} {
			got, _, _ := count(t, c, p, flows)
			checkUsages(t, got, model(flows, p), 100)
		}
	}
}

// TestInterruptedDump: a dump without End has no effect on the next one.
func TestInterruptedDump(t *testing.T) {
	flows := heavyTail(rand.New(rand.NewPCG(1, 5)), 20_000, 30)
	p := pods()
	c := newTestCounter(Options{Groups: 10})
	want := model(flows, p)
	for i, n := range []int{len(flows) / 2, 0, 10, len(flows)} {
		c.Begin(p)
		for k := range flows[:n] {
			c.Add(&flows[k])
		}
		got, _, dumps := count(t, c, p, flows)
		checkUsages(t, got, want, 10)
		if i > 0 && dumps != 1 {
			t.Errorf("after %d flows: %d dumps", n, dumps)
		}
	}
}

// TestClosing: flows may be closed in one dump and open in the next.
func TestClosing(t *testing.T) {
	g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: remote[0], Port: 443}
	var flows []conntrack.Flow
	for i := range 10 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, uint16(4000+i)))
	}
	p := pods()
	c := newTestCounter(Options{Groups: 1})
	for _, closed := range []int{0, 7, 2, 10, 0} {
		for i := range flows {
			flows[i].State = conntrack.TCPEstablished
			if i < closed {
				flows[i].State = conntrack.TCPTimeWait
			}
		}
		if got, _, _ := count(t, c, p, flows); got[0].Closing != closed || got[0].Used != 10 {
			t.Errorf("%+v, want %d closing", got[0], closed)
		}
	}
	// A new flow has the port of a closed flow.
	flows[0].State = conntrack.TCPTimeWait
	again := flows[0]
	again.State = conntrack.TCPSynSent
	if got, _, _ := count(t, c, p, append(flows, again)); got[0].Closing != 0 || got[0].Used != 10 {
		t.Errorf("%+v", got[0])
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	flows := heavyTail(rand.New(rand.NewPCG(1, 2)), 50_000, 64)
	p := pods()
	c := newTestCounter(Options{Groups: 20})
	all := func() {
		c.Begin(p)
		for i := range flows {
			c.Add(&flows[i])
		}
		c.End()
	}
	all()
	all()
	if n := testing.AllocsPerRun(5, all); n > 100 {
		t.Errorf("%v allocations for %d flows", n, len(flows))
	}
}

func BenchmarkCounter(b *testing.B) {
	const size = 1_000_000
	p := pods()
	for name, heavy := range map[string]int{"ManyGroups": 64, "FewGroups": 0} {
		b.Run(name, func(b *testing.B) {
			var flows []conntrack.Flow
			if heavy > 0 {
				flows = heavyTail(rand.New(rand.NewPCG(1, 2)), size, heavy)
			} else {
				for i := range size {
					g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 20)}), Port: 443}
					flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, uint16(1024+i/20)))
				}
			}
			c := newTestCounter(Options{Groups: 20})
			b.ReportAllocs()
			for b.Loop() {
				c.Begin(p)
				for i := range flows {
					c.Add(&flows[i])
				}
				c.End()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/flow")
		})
	}
}
