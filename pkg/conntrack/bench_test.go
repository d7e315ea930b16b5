package conntrack

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
)

// captured is a dump as the kernel sent it: the attributes of each flow.
func captured(t testing.TB, tb *table) (flows [][]byte) {
	t.Helper()
	for m, err := range tb.dumps.Dump(msgGet, 0, header(0)) {
		assert.NoError(t, err)
		flows = append(flows, slices.Clone(attributes(m)))
	}
	return flows
}

// decodeAll reads each flow.
func decodeAll(t testing.TB, flows [][]byte, f *Flow) {
	for _, b := range flows {
		if err := f.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	tb := newTable(t)
	tb.insert(mixture()...)
	flows := captured(t, tb)
	var f Flow
	if n := testing.AllocsPerRun(100, func() { decodeAll(t, flows, &f) }); n != 0 {
		t.Errorf("%v allocations for %d flows", n, len(mixture()))
	}
	filter := filters[len(filters)-1].filter
	if n := testing.AllocsPerRun(100, func() { filter.Match(&f) }); n != 0 {
		t.Errorf("%v allocations to match a flow", n)
	}
}

// A dump allocates for itself, and not for its flows.
func TestDumpAllocatesNothingForAFlow(t *testing.T) {
	tb := newTable(t)
	allocs := func() float64 {
		return testing.AllocsPerRun(5, func() {
			for _, err := range tb.Dump(t.Context(), Filter{}) {
				assert.NoError(t, err)
			}
		})
	}
	empty := allocs()
	tb.insert(many(20_000)...)
	if full := allocs(); full > empty {
		t.Errorf("%v allocations for 20,000 flows, %v for none", full, empty)
	}
}

func BenchmarkDecode(b *testing.B) {
	tb := newTable(b)
	const size = 1000
	tb.insert(many(size)...)
	flows := captured(b, tb)
	if len(flows) != size {
		b.Fatal(len(flows))
	}
	var f Flow
	timed(b, size, func() {
		decodeAll(b, flows, &f)
	})
}

// timed runs f with the time of all processors that it took, its children's
// included: a figure that others on the machine change little.
func timed(b *testing.B, flows int, f func()) {
	b.ReportAllocs()
	begin := processors(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(processors(b)-begin)/float64(b.N)/float64(flows), "cpu-ns/flow")
}

func processors(t testing.TB) int64 {
	var sum int64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		assert.NoError(t, unix.Getrusage(who, &r))
		sum += r.Utime.Nano() + r.Stime.Nano()
	}
	return sum
}

// One table of 100,000 flows, read by us, by someone who throws it away, and by
// conntrack(8).
func BenchmarkTable(b *testing.B) {
	tb := newTable(b)
	const size = 100_000
	tb.insert(many(size)...)
	src := many(2)[1].Original.Src
	for _, x := range []struct {
		name   string
		filter Filter
		flows  int
	}{
		{"Dump", Filter{}, size},
		{"OneSource", Filter{Original: Tuple{Src: src}}, size / 250},
		{"OneStatus", Filter{Status: SrcNAT, StatusMask: SrcNAT}, 0},
		{"OneFamily", Filter{Family: masq.IPv6}, size / 5},
	} {
		b.Run(x.name, func(b *testing.B) {
			timed(b, size, func() {
				n := 0
				for _, err := range tb.Dump(b.Context(), x.filter) {
					assert.NoError(b, err)
					n++
				}
				if n != x.flows {
					b.Fatal(n)
				}
			})
		})
	}
	b.Run("ReceiveAndDiscard", func(b *testing.B) {
		timed(b, size, func() {
			for _, err := range tb.dumps.Dump(msgGet, 0, header(0)) {
				assert.NoError(b, err)
			}
		})
	})
	b.Run("conntrack-L", func(b *testing.B) {
		timed(b, size, func() {
			assert.NoError(b, tb.ns.Command(b.Context(), "conntrack", "-L").Run()) // to /dev/null
		})
	})
	b.Run("Get", func(b *testing.B) {
		t := many(2)[1].Original
		timed(b, 1, func() { assert.Must(tb.Get(t))(b) })
	})
}

// Events that wait in the buffer are read by us.
func BenchmarkEvents(b *testing.B) {
	tb := newTable(b)
	const size = 10_000
	w := watchIn(b, tb.ns, FlowNew, 64<<20)
	entries := many(size)
	var spent int64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		tb.insert(entries...)
		b.StartTimer()
		n, begin := 0, processors(b)
		for _, err := range w.Events(b.Context()) {
			assert.NoError(b, err)
			if n++; n == size {
				break
			}
		}
		spent += processors(b) - begin
		b.StopTimer()
		assert.Must(tb.DeleteMatching(b.Context(), Filter{}, func(*Flow) bool { return true }))(b)
		b.StartTimer()
	}
	b.ReportMetric(float64(spent)/float64(b.N)/size, "cpu-ns/event")
}

func BenchmarkDeleteMatching(b *testing.B) {
	tb := newTable(b)
	const size = 10_000
	entries := many(size)
	var spent int64
	for b.Loop() {
		b.StopTimer()
		tb.insert(entries...)
		begin := processors(b)
		b.StartTimer()
		if n := assert.Must(tb.DeleteMatching(b.Context(), Filter{}, func(*Flow) bool { return true }))(b); n != size {
			b.Fatal(n)
		}
		spent += processors(b) - begin
	}
	b.ReportMetric(float64(spent)/float64(b.N)/size, "cpu-ns/flow")
}
