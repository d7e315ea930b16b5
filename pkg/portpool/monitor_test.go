package portpool

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// fakeTable is a conntrack table.
type fakeTable struct {
	flows      []conntrack.Flow
	statistics []conntrack.Statistics
	errors     []error // results of the next dumps, each after half of the flows
	dumps      int
}

func (x *fakeTable) Dump(context.Context, conntrack.Filter) iter.Seq2[*conntrack.Flow, error] {
	return func(yield func(*conntrack.Flow, error) bool) {
		x.dumps++
		for i := range x.flows {
			if len(x.errors) > 0 && i == len(x.flows)/2 {
				err := x.errors[0]
				x.errors = x.errors[1:]
				yield(nil, err)
				return
			}
			if !yield(&x.flows[i], nil) {
				return
			}
		}
	}
}

func (x *fakeTable) Statistics(context.Context) ([]conntrack.Statistics, error) {
	return x.statistics, nil
}

func sample(t testing.TB, m *Monitor, at time.Time, x *fakeTable) *Sample {
	t.Helper()
	s, err := m.Sample(t.Context(), at, x, pods())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var server = Group{Protocol: unix.IPPROTO_UDP, Egress: egress[0], Destination: remote[0], Port: 53}

// testFlows returns n flows of a container whose policy has 1000 ports.
func testFlows(n int) []conntrack.Flow {
	var out []conntrack.Flow
	for i := range n {
		out = append(out, flowOf(netip.AddrPortFrom(addr("10.0.0.2"), uint16(3000+i)), server, uint16(20000+i)))
	}
	return out
}

// TestForecast: at a steady rate the time of exhaustion is exact, and a rate that stops is
// forgotten.
func TestForecast(t *testing.T) {
	m, x := NewMonitor(Options{Groups: 5}), &fakeTable{}
	begin := time.Unix(1e9, 0)
	at := func(seconds, used int) Forecast {
		t.Helper()
		x.flows = testFlows(used)
		s := sample(t, m, begin.Add(time.Duration(seconds)*time.Second), x)
		if len(s.Groups) != 1 || s.Groups[0].Used != used || s.Groups[0].Usable != 1000 || s.Groups[0].Group != server {
			t.Fatalf("%+v", s)
		}
		return s.Groups[0]
	}
	if p := at(0, 100); p.Rate != 0 || p.ExhaustedIn != Never || p.Severity != OK {
		t.Errorf("at first: %+v", p)
	}
	// Ten ports every five seconds.
	for seconds := 5; seconds < 450; seconds += 5 {
		used := 100 + 2*seconds
		p := at(seconds, used)
		want := time.Duration(1000-used) * time.Second / 2
		if math.Abs(p.Rate-2) > 1e-9 || (p.ExhaustedIn-want).Abs() > time.Millisecond {
			t.Fatalf("%d used: %+v, want %v", used, p, want)
		}
		if soon := used >= 500 && want <= WarningTime; soon && p.Severity < Warning || !soon && p.Severity >= Warning {
			t.Errorf("%d used, %v left: %v", used, want, p.Severity)
		}
	}
	if p := at(450, 1000); p.ExhaustedIn != 0 || p.Severity != Critical || p.Share() != 1 {
		t.Errorf("at the end: %+v", p)
	}
	if p := at(460, 500); p.Rate >= 2 || p.Severity >= Critical {
		t.Errorf("when half are free again: %+v", p)
	}
	if p := at(460+3600, 500); math.Abs(p.Rate) > 1e-9 || p.ExhaustedIn != Never || p.Severity != OK {
		t.Errorf("an hour later: %+v", p)
	}
	// If the clock is set back, the rate stays.
	if p := at(100, 600); math.Abs(p.Rate) > 1e-9 {
		t.Errorf("%+v", p)
	}
}

// TestOtherPool: if the fullest pool of a group changes, its rate starts again.
func TestOtherPool(t *testing.T) {
	m, x := NewMonitor(Options{Groups: 5}), &fakeTable{}
	var wide []conntrack.Flow
	for i := range 900 {
		wide = append(wide, flowOf(netip.AddrPortFrom(addr("10.0.0.3"), uint16(3000+i)), server, uint16(40000+i)))
	}
	x.flows = wide
	sample(t, m, time.Unix(0, 0), x)
	x.flows = slices.Concat(wide, testFlows(100))
	if p := sample(t, m, time.Unix(1, 0), x).Groups[0]; p.Used != 100 || p.Usable != 1000 || p.Rate != 0 || p.ExhaustedIn != Never {
		t.Errorf("%+v", p)
	}
	x.flows = slices.Concat(wide, testFlows(110))
	if p := sample(t, m, time.Unix(2, 0), x).Groups[0]; p.Rate != 10 || p.ExhaustedIn != 89*time.Second {
		t.Errorf("%+v", p)
	}
}

func TestSampleOfManyGroups(t *testing.T) {
	const most = 10
	x := &fakeTable{flows: heavyTail(rand.New(rand.NewPCG(1, 1)), 50_000, 40)}
	want := model(x.flows, pods())
	m := NewMonitor(Options{Groups: most})
	for i, dumps := range []int{2, 1} {
		x.dumps = 0
		s := sample(t, m, time.Unix(int64(i), 0), x)
		if len(s.Groups) != most || x.dumps != dumps || s.UnlistedShare < want[most].Share() || s.UnlistedShare > want[most-1].Share() {
			t.Errorf("%d groups, %d dumps, others have at most %v", len(s.Groups), x.dumps, s.UnlistedShare)
		}
		for k, g := range s.Groups {
			if g.Group != want[k].Group || g.Used != want[k].Used {
				t.Errorf("%d: %+v, want %+v", k, g, want[k])
			}
		}
	}
}

// TestInterruptedDumps: an interrupted dump is repeated, and other errors are returned.
func TestInterruptedDumps(t *testing.T) {
	x := &fakeTable{flows: testFlows(300), errors: []error{conntrack.ErrInterrupted, conntrack.ErrInterrupted}}
	m := NewMonitor(Options{Groups: 3})
	if s := sample(t, m, time.Unix(0, 0), x); s.Groups[0].Used != 300 || x.dumps != 3 {
		t.Errorf("%+v after %d dumps", s, x.dumps)
	}
	for range 2 * maxDumpRetries {
		x.errors = append(x.errors, conntrack.ErrInterrupted)
	}
	if _, err := m.Sample(t.Context(), time.Unix(1, 0), x, pods()); !errors.Is(err, conntrack.ErrInterrupted) {
		t.Errorf("%v", err)
	}
	x.errors = []error{conntrack.ErrOverrun}
	if _, err := m.Sample(t.Context(), time.Unix(2, 0), x, pods()); !errors.Is(err, conntrack.ErrOverrun) {
		t.Errorf("%v", err)
	}
	if s := sample(t, m, time.Unix(3, 0), x); s.Groups[0].Used != 300 {
		t.Errorf("%+v", s)
	}
}
