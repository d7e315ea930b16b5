package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

func watchIn(t testing.TB, ns *nstest.NS, kinds Events, buffer int) *Watcher {
	t.Helper()
	var w *Watcher
	assert.NoError(t, ns.Do(func() (err error) {
		w, err = Watch(kinds, buffer)
		return err
	}))
	t.Cleanup(func() {
		if err := w.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return w
}

// nextEvents returns the next n events.
func nextEvents(t *testing.T, w *Watcher, n int) []Event {
	t.Helper()
	var all []Event
	for e, err := range w.Events(within(t)) {
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		if all = append(all, *e); len(all) == n {
			break
		}
	}
	return all
}

// The life of a flow, in events.
func TestWatch(t *testing.T) {
	l := newLab(t)
	w := watchIn(t, l.Node, FlowNew|FlowUpdate|FlowDestroy|ExpectationNew|ExpectationDestroy, 1<<20)
	for _, p := range l.Plans() {
		assert.NoError(t, l.pod.EchoUDP(within(t), netip.AddrPort{}, l.udp[p.Server].Addr(), 100))
		f := l.flowTo(t, l.udp[p.Server].Addr().Port(), p.Server)
		assert.NoError(t, l.Delete(f.Original, f.ID))
		all := nextEvents(t, w, 3)
		for i, kind := range []Events{FlowNew, FlowUpdate, FlowDestroy} {
			e := all[i]
			if e.Kind != kind || e.Flow.Original != f.Original || e.Flow.Reply != f.Reply || e.Flow.ID != f.ID {
				t.Errorf("%s of %+v, not %s of %+v", e.Kind, e.Flow, kind, f)
			}
			if d := time.Since(time.Unix(0, e.Time)); kernel(t, 6, 14) && (d < 0 || d > time.Minute) {
				t.Errorf("%s was %s ago", kind, d)
			}
		}
		first, last := all[0].Flow, all[2].Flow
		if first.Mark != 0x1d || first.Status&SeenReply != 0 || !first.Translated() || first.Has(HasCounters) {
			t.Errorf("begins as %+v", first)
		}
		if last.OriginalCounters.Packets != 1 || last.ReplyCounters.Packets != 1 || last.Stop < last.Start || last.Status&SeenReply == 0 {
			t.Errorf("ends as %+v", last)
		}
	}
}

func (l *lab) flowTo(t *testing.T, port uint16, dst netip.Addr) Flow {
	t.Helper()
	for _, f := range l.collect(Filter{}) {
		if f.Original.DstPort == port && f.Original.Dst == dst {
			return f
		}
	}
	t.Fatalf("no flow to %v port %d", dst, port)
	return Flow{}
}

func TestWatchExpectations(t *testing.T) {
	l := newLab(t)
	w := watchIn(t, l.Node, ExpectationNew|ExpectationDestroy, 1<<20)
	for _, p := range l.Plans() {
		assert.Must(l.pod.FTPFetch(within(t), l.ftp[p.Server].Addr(), nstest.EPRT, 100))(t)
		all := nextEvents(t, w, 2)
		if all[0].Kind != ExpectationNew || all[1].Kind != ExpectationDestroy {
			t.Errorf("%s, %s", all[0].Kind, all[1].Kind)
		}
		for _, e := range all {
			if x := e.Expectation; x.Tuple.Src != p.Server || x.Tuple.Dst != p.Node || x.Master.DstPort != 21 || x.Helper.String() != "ftp" {
				t.Errorf("%+v", x)
			}
		}
	}
}

// Lost events are an error and are counted, and the Watcher continues.
func TestWatchOverrun(t *testing.T) {
	tb := newTable(t)
	w := watchIn(t, tb.ns, FlowNew|FlowDestroy, 64<<10)
	const size = 2000
	tb.insert(many(size)...)
	received := 0
	for _, err := range w.Events(within(t)) {
		if err == nil {
			received++
			continue
		}
		if !errors.Is(err, ErrOverrun) || !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
		break
	}
	lost := assert.Must(w.Lost())(t)
	left := size - int(lost) - received
	if left <= 0 {
		t.Fatalf("received %d, lost %d of %d: the buffer is empty", received, lost, size)
	}
	nextEvents(t, w, left) // the events that were not lost, and no others before the next flow's
	tb.insert(flowOf(echo("10.0.0.1", "192.0.2.1", 7)))
	if e := nextEvents(t, w, 1)[0]; e.Kind != FlowNew || e.Flow.Original.ID != 7 {
		t.Errorf("after the loss: %+v", e)
	}
	if again := assert.Must(w.Lost())(t); again != lost {
		t.Errorf("lost %d, then %d", lost, again)
	}
}

func TestWatchEnds(t *testing.T) {
	tb := newTable(t)
	w := watchIn(t, tb.ns, FlowNew, 1<<20)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go cancel(reason)
	for _, err := range w.Events(ctx) {
		if !errors.Is(err, reason) {
			t.Error(err)
		}
	}
	tb.insert(many(1)...) // a later loop continues with another context
	nextEvents(t, w, 1)
	go func() { _ = w.Close() }()
	for range 2 { // Close in a loop, and before a loop
		for _, err := range w.Events(t.Context()) {
			if !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		}
	}
}

// A flow that began without events does not announce its end to a later watch. At 2, the
// default, nf_conntrack_events gives a new flow events where any program of the machine
// listens, in any namespace; the test sets 0 and 1, which do not depend on the others.
func TestWatchReceivesOnlyLaterFlows(t *testing.T) {
	tb := newTable(t)
	before, after := flowOf(echo("10.0.0.1", "192.0.2.1", 1)), flowOf(echo("10.0.0.1", "192.0.2.1", 2))
	assert.NoError(t, tb.ns.Sysctl("net.netfilter.nf_conntrack_events", "0"))
	tb.insert(before)
	w := watchIn(t, tb.ns, FlowDestroy, 1<<20)
	assert.NoError(t, tb.ns.Sysctl("net.netfilter.nf_conntrack_events", "1"))
	tb.insert(after)
	assert.NoError(t, tb.Delete(before.Original, 0))
	assert.NoError(t, tb.Delete(after.Original, 0))
	if first := nextEvents(t, w, 1)[0].Flow.Original; first != after.Original {
		t.Errorf("the first flow whose end is received is %s, not %s", first, after.Original)
	}
}
