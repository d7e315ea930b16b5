package veth

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

var stacks = []struct {
	name     string
	families []string
}{{"IPv4", []string{"4"}}, {"IPv6", []string{"6"}}, {"dual", []string{"4", "6"}}}

// crowd adds links to a node. Their other ends share one namespace, since only the number
// of links of the node counts.
func crowd(t testing.TB, w *Conn, count int, families ...string) (pairs []Pair) {
	t.Helper()
	c := newSpace(t)
	for n := range count {
		p := pair(c, 0x8000+n, families...)
		p.Interface = fmt.Sprintf("eth%d", n)
		for _, a := range p.Addresses { // a default route only fits once
			p.Routes = append(p.Routes, hostRouteOf(a))
		}
		mustAdd(t, w, p)
		pairs = append(pairs, p)
	}
	return pairs
}

func hostRouteOf(a netip.Prefix) masq.Route {
	return masq.Route{Dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())}
}

// times makes links, each with a namespace, and deletes them. It returns the durations in
// ascending order.
func times(t testing.TB, w *Conn, count int, families ...string) (adds, dels []time.Duration) {
	t.Helper()
	for n := range count {
		p := pair(newSpace(t), n+2, families...)
		start := time.Now()
		mustAdd(t, w, p)
		adds = append(adds, time.Since(start))
		start = time.Now()
		if err := w.Delete(p.hostLink()); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		dels = append(dels, time.Since(start))
	}
	slices.Sort(adds)
	slices.Sort(dels)
	return adds, dels
}

func BenchmarkAddDelete(b *testing.B) {
	for _, stack := range stacks {
		for _, size := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", stack.name, size), func(b *testing.B) {
				lab := newLab(b)
				crowd(b, lab.conn, size, stack.families...)
				b.ResetTimer()
				adds, dels := times(b, lab.conn, b.N, stack.families...)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(adds[b.N/2].Microseconds()), "µs/Add")
				b.ReportMetric(float64(dels[b.N/2].Microseconds()), "µs/Delete")
			})
		}
	}
}

// BenchmarkCompare measures a full comparison without differences, and a repair by index.
func BenchmarkCompare(b *testing.B) {
	lab := newLab(b)
	pairs := crowd(b, lab.conn, 3000, "4", "6")
	find := func(int, string) (Pair, bool) { return pairs[7], true }
	index := lab.node.link(pairs[7].HostName).Attrs().Index
	b.Run("all", func(b *testing.B) {
		for range b.N {
			if found, err := lab.conn.Compare(pairs); found != nil || err != nil {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for range b.N {
			if _, left, err := lab.conn.RepairIndexes([]int{index}, find); left != nil || err != nil {
				b.Fatal(left, err)
			}
		}
	})
}

// The time of an Add does not depend on the number of links.
func TestAddCostDoesNotDependOnLinks(t *testing.T) {
	for _, stack := range stacks {
		t.Run(stack.name, func(t *testing.T) {
			lab := newLab(t)
			crowd(t, lab.conn, 10, stack.families...)
			few, _ := times(t, lab.conn, 20, stack.families...)
			lab = newLab(t)
			crowd(t, lab.conn, 1000, stack.families...)
			many, _ := times(t, lab.conn, 20, stack.families...)
			t.Logf("Add, best and median: %v and %v among 10 links, %v and %v among 1000", few[0], few[10], many[0], many[10])
			// The minimum, since other programs use the machine. An Add that lists the links
			// takes ten times as long.
			if many[0] > 4*few[0]+time.Millisecond/2 {
				t.Errorf("with 1000 links Add takes %v, with 10 links %v", many[0], few[0])
			}
		})
	}
}
