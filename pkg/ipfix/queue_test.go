package ipfix

import (
	"slices"
	"testing"
	"time"
)

// TestQueueIsBounded: a full queue drops and counts records, and frees its memory after a
// burst.
func TestQueueIsBounded(t *testing.T) {
	q := newQueue(4*chunkBytes, madeTemplates(t).events)
	n, begins := 0, 0
	for i := range 10_000 {
		ok, began, err := q.put(begin4.id, event(i))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			n++
		}
		if began {
			begins++
		}
	}
	if appended, lost := q.counts(); int(appended) != n || n+int(lost) != 10_000 || lost == 0 || begins != 1 {
		t.Errorf("%d records queued, %d lost, %d loss periods", appended, lost, begins)
	}
	bytes, records := 0, uint64(0)
	for c := q.take(); c != nil; c = q.take() {
		bytes += len(c)
		records += count(c)
		q.giveBack(c)
	}
	if bytes > 4*chunkBytes || int(records) != n {
		t.Errorf("took %d bytes and %d records", bytes, records)
	}
	if q.allocated != 1 || q.spare == nil {
		t.Errorf("%d chunks are allocated, want 1", q.allocated)
	}
	before := n
	first, last := event(n).Time, event(9_999).Time
	if m := q.lostRecords(); m.count != uint64(10_000-n) || !m.first.Equal(first) || !m.last.Equal(last) {
		t.Errorf("lost %+v, want %s to %s", m, first, last)
	}
	if _, began, _ := q.put(begin4.id, event(0)); began {
		t.Error("a loss period begins although the queue has room")
	}
	if on, n := q.lossPeriodState(time.Now()); !on || n != 0 {
		t.Errorf("the loss period is over at once, with %d records", n)
	}
	if on, n := q.lossPeriodState(time.Now().Add(recoveryDelay)); on || int(n) != 10_000-before {
		t.Errorf("the loss period continues %t with %d records", on, n)
	}
}

// TestMessagesFit: messages have as many records as fit, in order.
func TestMessagesFit(t *testing.T) {
	set := madeTemplates(t)
	q := newQueue(1<<20, set.events)
	for i := range 300 {
		e := event(i)
		if i%3 == 0 {
			e.Owner.ContainerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		}
		if ok, _, err := q.put(templateOf(e), e); !ok || err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Concat(q.chunks...)
	for _, limit := range []int{300, 484, 1400, 16 << 10} {
		r := newReading()
		m := described(t, set)
		endMessage(m, 0, time.Now())
		r.message(m)
		for rest, sequence := all, uint32(0); len(rest) > 0; {
			m, left, n := fill(beginMessage(nil), rest, limit)
			endMessage(m, sequence, time.Now())
			if len(m) > limit || n == 0 {
				t.Fatalf("a message has %d bytes and %d records, the limit is %d bytes", len(m), n, limit)
			}
			r.message(m)
			rest, sequence = left, sequence+n
		}
		if r.count(t) != 300 {
			t.Errorf("got %d records, want 300", len(r.records))
		}
		for i, x := range r.records {
			if got := int(x[7][0])<<8 | int(x[7][1]); got != i {
				t.Fatalf("record %d has number %d", i, got)
			}
		}
	}
	if m, _, n := fill(beginMessage(nil), all, 100); n != 0 || len(m) != 16 {
		t.Errorf("%d records fit in a message of %d bytes, want none", n, len(m))
	}
}

// TestAllocationsOfPut: put allocates at most the name of the pod.
func TestAllocationsOfPut(t *testing.T) {
	q := newQueue(8<<20, madeTemplates(t).events)
	e := event(1)
	if n := testing.AllocsPerRun(2_000, func() { _, _, _ = q.put(end4.id, e) }); n > 1.1 {
		t.Errorf("%.1f allocations per record", n)
	}
}

func BenchmarkPut(b *testing.B) {
	q := newQueue(8<<20, madeTemplates(b).events)
	e := event(1)
	b.ReportAllocs()
	for b.Loop() {
		if ok, _, _ := q.put(end4.id, e); !ok {
			for c := q.take(); c != nil; c = q.take() {
				q.giveBack(c)
			}
		}
	}
}
