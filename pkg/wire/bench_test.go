package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var stacks = []struct {
	name     string
	families []string
}{{"IPv4", []string{"4"}}, {"IPv6", []string{"6"}}, {"dual", []string{"4", "6"}}}

// crowd fills a node with links. Their other ends share one namespace, since
// only the node's side is to be crowded.
func crowd(t testing.TB, w *Wire, count int, families ...string) {
	t.Helper()
	c := newSpace(t)
	for n := range count {
		p := pair(c, 0x8000+n, families...)
		p.Interface = fmt.Sprintf("eth%d", n)
		for _, a := range p.Addresses { // a default route only fits once
			p.Routes = append(p.Routes, Route{Dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())})
		}
		mustAdd(t, w, p)
	}
}

// times makes links into namespaces of their own, deletes them, and returns
// the medians.
func times(t testing.TB, w *Wire, count int, families ...string) (add, del time.Duration) {
	t.Helper()
	var adds, dels []time.Duration
	for n := range count {
		p := pair(newSpace(t), n+2, families...)
		start := time.Now()
		mustAdd(t, w, p)
		adds = append(adds, time.Since(start))
		start = time.Now()
		if err := w.Delete(p.HostName, p.Identity); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		dels = append(dels, time.Since(start))
	}
	slices.Sort(adds)
	slices.Sort(dels)
	return adds[count/2], dels[count/2]
}

func BenchmarkAddDelete(b *testing.B) {
	for _, stack := range stacks {
		for _, size := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", stack.name, size), func(b *testing.B) {
				lab := newLab(b)
				crowd(b, lab.wire, size, stack.families...)
				b.ResetTimer()
				add, del := times(b, lab.wire, b.N, stack.families...)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(add.Microseconds()), "µs/Add")
				b.ReportMetric(float64(del.Microseconds()), "µs/Delete")
			})
		}
	}
}

// The time of an Add must not grow with the number of links there are.
func TestAddTakesTheSameTimeAmongThousand(t *testing.T) {
	for _, stack := range stacks {
		t.Run(stack.name, func(t *testing.T) {
			lab := newLab(t)
			crowd(t, lab.wire, 10, stack.families...)
			few, _ := times(t, lab.wire, 20, stack.families...)
			lab = newLab(t)
			crowd(t, lab.wire, 1000, stack.families...)
			many, _ := times(t, lab.wire, 20, stack.families...)
			t.Logf("median Add: %v among 10 links, %v among 1000", few, many)
			// A machine that does other things too: an Add that listed the
			// links would take ten times as long and more.
			if many > 3*few+time.Millisecond {
				t.Errorf("an Add among 1000 links takes %v, among 10 it takes %v", many, few)
			}
		})
	}
}
