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

// sameCounter has the same hash in each run, so that each is the same: how many dumps a
// counter needs depends on what falls together.
func sameCounter(most int) *Counter { return sameCounterOf(Options{Groups: most}) }

func sameCounterOf(o Options) *Counter {
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

// FuzzCounter compares with sets, for tables in which all groups are followed and for
// those in which most are not.
func FuzzCounter(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint16(seed*37), uint8(seed%4*40+1))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, most uint8) {
		reuses := seed&1 != 0
		r := rand.New(rand.NewPCG(seed, 0))
		flows := some(r, int(n)%4096)
		p := pods()
		want := naiveReusing(flows, p, reuses)
		c := sameCounterOf(Options{Groups: int(most), ReusesClosed: reuses})
		most = max(most, 1)
		for range 3 {
			r.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
			// Ports outside the pools that they were drawn from make groups look
			// fuller than they are, until they are followed.
			got, _, _ := dumpedWithin(t, 8, c, p, flows)
			equal(t, got, want, int(most))
		}
	})
}

// crowd is a heavy tail: few groups with many flows among a multitude with one each.
func crowd(r *rand.Rand, n, heavy int) []conntrack.Flow {
	out := make([]conntrack.Flow, 0, n)
	for i := range n {
		g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Port: 443}
		var b [4]byte
		port := uint16(1024 + i%64512)
		if i%4 != 0 {
			// Group k has about twice as many as group 2k.
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

// TestCrowd has far more groups than can be followed.
func TestCrowd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flows := crowd(r, 100_000, 64)
	p := pods()
	want := naive(flows, p)
	const most = 20
	c := sameCounter(most)
	got, beyond, dumps := dumped(t, c, p, flows)
	equal(t, got, want, most)
	if dumps != 2 || len(want) < 20_000 {
		t.Errorf("%d dumps of %d groups", dumps, len(want))
	}
	if beyond < want[most].Share() || beyond > want[most-1].Share() {
		t.Errorf("beyond is %v, the next has %v", beyond, want[most].Share())
	}

	// The control: what one dump of strangers followed is not the answer.
	first := sameCounter(most)
	first.Begin(p)
	for i := range flows {
		first.Add(&flows[i])
	}
	if _, _, exact := first.End(); exact {
		t.Error("one dump is said to be exact")
	}

	// Once known, one dump is enough, also when another group rises into view.
	got, _, dumps = dumped(t, c, p, flows)
	equal(t, got, want, most)
	if dumps != 1 {
		t.Errorf("%d dumps of what is known", dumps)
	}
	rising := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[1], Destination: remote[0], Port: 53}
	for i := range 30_000 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.77.0.1"), 5555), rising, uint16(2000+i)))
	}
	got, _, _ = dumped(t, c, p, flows)
	equal(t, got, naive(flows, p), most)
	if got[0].Group != rising || got[0].Used != 30_000 {
		t.Errorf("the fullest is %+v", got[0])
	}
	// And falls again.
	flows = flows[:len(flows)-30_000]
	got, _, _ = dumped(t, c, p, flows)
	equal(t, got, want, most)
}

// TestRepeatedFlows: a dump may give a flow twice, and a port may pass on during it.
func TestRepeatedFlows(t *testing.T) {
	flows := some(rand.New(rand.NewPCG(7, 7)), 3000)
	p := pods()
	want := naive(flows, p)
	c := sameCounter(100)
	got, _, _ := dumped(t, c, p, append(slices.Clone(flows), flows[:len(flows)/2]...))
	equal(t, got, want, 100)
}

// TestManyAlike: where all are alike, some are shown, and of the others it is said
// that they are not fuller.
func TestManyAlike(t *testing.T) {
	var flows []conntrack.Flow
	for i := range 5000 {
		g := Group{Protocol: unix.IPPROTO_UDP, Egress: egress[0], Destination: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 53}
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, 4000))
	}
	p := pods()
	c := sameCounter(10)
	for range 3 {
		c.Begin(p)
		for i := range flows {
			c.Add(&flows[i])
		}
		uses, beyond, _ := c.End()
		if len(uses) != 10 || uses[0].Used != 1 || uses[9].Used != 1 || beyond < uses[9].Share() {
			t.Fatalf("%d groups, %+v, beyond %v", len(uses), uses, beyond)
		}
	}
}

// TestPolicyChanges: what is followed goes on under other policies.
func TestPolicyChanges(t *testing.T) {
	flows := some(rand.New(rand.NewPCG(3, 3)), 2000)
	c := sameCounter(100)
	for range 3 {
		for _, p := range []*Pools{pods(), PoolsOf(nil, nil, masqDefault)} {
			got, _, _ := dumped(t, c, p, flows)
			equal(t, got, naive(flows, p), 100)
		}
	}
}

// TestInterruptedDump: a dump that was not ended leaves nothing behind, and nothing
// is forgotten over it.
func TestInterruptedDump(t *testing.T) {
	flows := crowd(rand.New(rand.NewPCG(1, 5)), 20_000, 30)
	p := pods()
	c := sameCounter(10)
	want := naive(flows, p)
	for i, n := range []int{len(flows) / 2, 0, 10, len(flows)} {
		c.Begin(p)
		for k := range flows[:n] {
			c.Add(&flows[k])
		}
		got, _, dumps := dumped(t, c, p, flows)
		equal(t, got, want, 10)
		if i > 0 && dumps != 1 {
			t.Errorf("after %d flows: %d dumps", n, dumps)
		}
	}
}

// TestClosing: who is closed and who is not may change from dump to dump.
func TestClosing(t *testing.T) {
	g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: remote[0], Port: 443}
	var flows []conntrack.Flow
	for i := range 10 {
		flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, uint16(4000+i)))
	}
	p := pods()
	c := sameCounter(1)
	for _, closed := range []int{0, 7, 2, 10, 0} {
		for i := range flows {
			flows[i].State = conntrack.TCPEstablished
			if i < closed {
				flows[i].State = conntrack.TCPTimeWait
			}
		}
		if got, _, _ := dumped(t, c, p, flows); got[0].Closing != closed || got[0].Used != 10 {
			t.Errorf("%+v, want %d closing", got[0], closed)
		}
	}
	// A later flow has the port of one that was closed.
	flows[0].State = conntrack.TCPTimeWait
	again := flows[0]
	again.State = conntrack.TCPSynSent
	if got, _, _ := dumped(t, c, p, append(flows, again)); got[0].Closing != 0 || got[0].Used != 10 {
		t.Errorf("%+v", got[0])
	}
}

func TestNothingIsAllocatedForAFlow(t *testing.T) {
	flows := crowd(rand.New(rand.NewPCG(1, 2)), 50_000, 64)
	p := pods()
	c := sameCounter(20)
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
	for name, heavy := range map[string]int{"Crowd": 64, "FewGroups": 0} {
		b.Run(name, func(b *testing.B) {
			var flows []conntrack.Flow
			if heavy > 0 {
				flows = crowd(rand.New(rand.NewPCG(1, 2)), size, heavy)
			} else {
				for i := range size {
					g := Group{Protocol: unix.IPPROTO_TCP, Egress: egress[0], Destination: netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 20)}), Port: 443}
					flows = append(flows, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), 4000), g, uint16(1024+i/20)))
				}
			}
			c := sameCounter(20)
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
