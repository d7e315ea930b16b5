package report

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// TestFlowRoundTrip: a flow is unchanged after encoding and decoding.
func TestFlowRoundTrip(t *testing.T) {
	for _, f := range described() {
		// Invalid UTF-8 is replaced.
		f.Peer.PodNamespace, f.Peer.PodName = strings.ToValidUTF8(f.Peer.PodNamespace, "?"), strings.ToValidUTF8(f.Peer.PodName, "?")
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var back Flow
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, f) {
			t.Errorf("%s\nis decoded as %+v", b, back)
		}
	}
}

// TestFlowTimes: begin, end and duration follow from the kernel's timestamps.
func TestFlowTimes(t *testing.T) {
	for _, tt := range []struct {
		start, stop, now time.Duration // after noon
		want             time.Duration
		ended            bool
	}{
		{-time.Minute, 0, 0, time.Minute, false},
		{-time.Minute, -time.Second, time.Hour, 59 * time.Second, true},
		{time.Minute, 0, 0, 0, false}, // the clock was set back
	} {
		f := conntrack.Flow{Start: noon.Add(tt.start).UnixNano()}
		if tt.stop != 0 {
			f.Stop = noon.Add(tt.stop).UnixNano()
		}
		x := FlowOf(&f, nil, nil, noon.Add(tt.now))
		if time.Duration(x.Duration) != tt.want || x.End.IsZero() == tt.ended || !x.Begin.Equal(noon.Add(tt.start)) {
			t.Errorf("%+v: %+v", tt, x)
		}
	}
	if x := FlowOf(&conntrack.Flow{}, nil, nil, noon); !x.Begin.IsZero() || x.Duration != 0 {
		t.Errorf("%+v", x)
	}
}

func TestStateNames(t *testing.T) {
	names := StateNames()
	for _, f := range flows() {
		if s := State(&f); !slices.Contains(names, s) {
			t.Errorf("%s is not among %v", s, names)
		}
	}
	for _, s := range []string{"established", "time_wait", "cookie_wait", "timewait"} {
		if !slices.Contains(names, s) {
			t.Errorf("no %s in %v", s, names)
		}
	}
}

func TestProtocols(t *testing.T) {
	for n := range 256 {
		back, ok := ParseProtocol(Protocol(uint8(n)))
		if ok != (n != 0) || ok && int(back) != n {
			t.Errorf("protocol %d: %q is parsed as %d, %t", n, Protocol(uint8(n)), back, ok)
		}
	}
	for _, s := range []string{"", "TCP", "256", "-1", "tcpx"} {
		if n, ok := ParseProtocol(s); ok {
			t.Errorf("%q is parsed as %d", s, n)
		}
	}
}

// TestTop: Top keeps the first flows in each order.
func TestTop(t *testing.T) {
	var all []Flow
	for i := range 1000 {
		f := described()[i%7]
		f.Bytes.Original = uint64(i * 7919 % 1000)
		f.Original.SourcePort = uint16(i)
		all = append(all, f)
	}
	for _, by := range SortNames() {
		var want []uint16
		for _, most := range []int{0, 1, 10, 999, 1000, 5000} {
			top, ok := NewTopFlows(by, most)
			if !ok {
				t.Fatal(by)
			}
			for _, f := range all {
				top.Add(f)
			}
			var got []uint16
			for _, f := range top.Sorted() {
				got = append(got, f.Original.SourcePort)
			}
			if most == 5000 {
				want = got
			}
			if len(got) != min(most, len(all)) {
				t.Errorf("by %s: got %d flows, want %d", by, len(got), most)
			}
		}
		top, _ := NewTopFlows(by, 10)
		for _, f := range slices.Backward(all) {
			top.Add(f)
		}
		for i, f := range top.Sorted() {
			if f.Original.SourcePort != want[i] {
				t.Errorf("by %s: flow %d depends on the order of Add", by, i)
			}
		}
	}
	top, _ := NewTopFlows("bytes", 1)
	for _, f := range all {
		top.Add(f)
	}
	if top.Sorted()[0].Bytes.Original < 990 {
		t.Errorf("%+v", top.Sorted()[0])
	}
	if _, ok := NewTopFlows("colour", 1); ok {
		t.Error("NewTopFlows accepts the order colour")
	}
}

// TestTopAllocations: a value after all kept values needs no allocation.
func TestTopAllocations(t *testing.T) {
	top, _ := NewTopFlows("bytes", 10)
	add := func(bytes uint64) { top.Add(Flow{Bytes: Sides{Original: bytes}, Packets: Sides{Original: 1}}) }
	for i := range uint64(200) {
		add(1000 + i)
	}
	if n := testing.AllocsPerRun(100, func() { add(1) }); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
	if got := top.Sorted(); len(got) != 10 || got[0].Bytes.Original != 1199 || got[9].Bytes.Original != 1190 {
		t.Errorf("%d, %+v", len(got), got[0])
	}
}
