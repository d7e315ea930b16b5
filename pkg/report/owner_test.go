package report

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestFlowsOfMasqd: a flow of masqd belongs to the attachment that it speaks for, by address,
// port and protocol.
func TestFlowsOfMasqd(t *testing.T) {
	o := OwnersOf(records()).WithSpoken(helperElements())
	f := conntrack.Flow{Original: tcp("192.0.2.2", 40555, "198.51.100.2", 554), Reply: tcp("198.51.100.2", 554, "192.0.2.2", 20123), Status: conntrack.SrcNAT}
	if x := o.FlowOf(&f, noon); x.PodName != "web" || x.Direction != Out || x.Helper != HelperOfMasqd {
		t.Errorf("%+v", x)
	}
	for name, change := range map[string]func(*conntrack.Tuple){
		"another port":     func(t *conntrack.Tuple) { t.SrcPort++ },
		"another address":  func(t *conntrack.Tuple) { t.Src = addr("192.0.2.3") },
		"another protocol": func(t *conntrack.Tuple) { t.Proto = unix.IPPROTO_UDP },
	} {
		other := f
		change(&other.Original)
		if x := o.FlowOf(&other, noon); x.Owner != (Owner{}) || x.Helper != "" {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

// TestEnds: the attachments at both ends of a flow.
func TestEnds(t *testing.T) {
	o := OwnersOf(records())
	name := func(x *Owner) string {
		if x == nil {
			return ""
		}
		return x.ContainerID[:4]
	}
	for i, want := range [][2]string{{"aaaa", ""}, {"aaaa", ""}, {"", "aaaa"}, {"bbbb", ""}, {"aaaa", ""}, {"bbbb", "dddd"}, {"", ""}} {
		f := flows()[i]
		from, to := o.Ends(&f)
		if got := [2]string{name(from), name(to)}; got != want {
			t.Errorf("flow %d: got the owners %q, want %q", i+1, got, want)
		}
		a, b := o.Indices(&f)
		if (a >= 0) != (from != nil) || (b >= 0) != (to != nil) || a >= 0 && o.At(a) != from || b >= 0 && o.At(b) != to {
			t.Errorf("flow %d: %d, %d", i+1, a, b)
		}
	}
}

// TestOwnersByAddress: the later of two records with one address is its owner.
func TestOwnersByAddress(t *testing.T) {
	later := record("ffff5678", "shop", "later", nil, "10.88.0.3")
	o := OwnersOf(append(records(), later))
	for a, want := range map[string]string{"10.88.0.2": "aaaa56789abcdef", "10.88.0.3": "ffff5678", "fd00:88::2": "aaaa56789abcdef"} {
		if got := o.Find(addr(a)); got == nil || got.ContainerID != want {
			t.Errorf("%s: %+v", a, got)
		}
	}
	if o.Len() != 5 || o.Find(addr("10.88.0.9")) != nil || o.Index(addr("10.88.0.9")) != -1 {
		t.Error(o)
	}
	if k := o.At(4).Key(); k != (masq.Key{Network: "pods", ContainerID: "ffff5678", Interface: "eth0"}) {
		t.Error(k)
	}
}

func TestOwnersAllocateNothing(t *testing.T) {
	o, all := OwnersOf(records()), flows()
	tally := NewTally(o)
	if n := testing.AllocsPerRun(100, func() {
		for i := range all {
			o.Ends(&all[i])
			tally.Add(&all[i])
		}
	}); n != 0 {
		t.Errorf("%.1f allocations", n)
	}
}

func TestMatch(t *testing.T) {
	o := OwnersOf(append(records(), record("aaaa56", "shop", "short", nil), record("aaaa56789abcdef", "shop", "web", nil)))
	for name, want := range map[string][]int{
		"shop/web": {0, 5}, "shop/db": {1}, "shop/": nil, "/web": nil, "shop": nil, "other/web": nil,
		"web": {0, 5}, "db": {1}, "we": nil,
		"bbbb": {1}, "aaaa56": {4}, "aaaa567": {0, 5}, "aaaa": {0, 4, 5}, "": nil, "/": nil, "c": {2},
	} {
		if got := o.Match(name); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

func TestPodOrContainer(t *testing.T) {
	for want, o := range map[string]Owner{
		"ns/p": {PodNamespace: "ns", PodName: "p", ContainerID: "c"}, "short": {ContainerID: "short"},
		"0123456789abc": {ContainerID: "0123456789abcdef"}, "": {},
	} {
		if got := o.Pod(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// BenchmarkTally measures Add per flow.
func BenchmarkTally(b *testing.B) {
	var all []conntrack.Flow
	rec := records()
	for len(all) < 1<<16 {
		for _, f := range flows()[:6] {
			f.Original.SrcPort, f.Reply.DstPort = uint16(len(all)), uint16(len(all)>>1)
			all = append(all, f)
		}
	}
	t := NewTally(OwnersOf(rec))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		t.Add(&all[i%len(all)])
	}
}
