package ipfix

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// All that is appended arrives, once and in its order.
func TestUDP(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	const records = 500
	for i := range records {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all records are there", func() bool { return r.count(t) == records })
	for i, e := range r.records {
		if got := int(binary.BigEndian.Uint16(e[7])); got != i {
			t.Fatalf("the %d. is %d", i, got)
		}
	}
	for _, n := range r.sizes {
		if n > widest {
			t.Errorf("a message of %d bytes", n)
		}
	}
	if len(r.sizes) > records/5 {
		t.Errorf("%d messages for %d records", len(r.sizes), records)
	}
	if s := x.Stats(); s.Taken != records || s.Sent != records || s.Lost != 0 || s.Err != nil {
		t.Errorf("%+v", s)
	}
}

// A collector that comes late gets what waited; one that is gone, all but what was
// under way.
func TestUDPCollectorComesAndGoes(t *testing.T) {
	c, _ := udp(t, "127.0.0.1:0")
	at := "127.0.0.1:" + port(c.LocalAddr())
	_ = c.Close()
	var log log
	x := open(t, at, Options{Log: log.logger()})
	until(t, "nobody is there", func() bool { return x.Stats().Err != nil })
	for i := range 10 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	c, r := udp(t, at)
	until(t, "what waited is there", func() bool { return r.count(t) == 10 })
	_ = c.Close()
	until(t, "records are missed", func() bool {
		if err := x.Append(event(10)); err != nil {
			t.Fatal(err)
		}
		return x.Stats().Err != nil
	})
	before := x.Stats()
	_, r = udp(t, at)
	until(t, "all records are accounted for", func() bool {
		return r.count(t) > 0 && uint64(10+r.count(t))+r.lost() >= x.Stats().Taken && x.Stats().Err == nil
	})
	if after := x.Stats(); after.Taken != before.Taken || r.lost() != after.Lost {
		t.Errorf("%+v, then %+v; it was told of %d", before, after, r.lost())
	}
	if n := log.count("takes no records"); n < 2 || n > 3 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// Templates are sent again before a record when they are old: a collector that was
// started anew without anybody's notice needs them.
func TestUDPTemplatesAgain(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{TemplateInterval: time.Millisecond})
	for i := range 5 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there", func() bool { return r.count(t) == i+1 })
	}
	if r.sets[2] < 5 || r.sets[3] < 5 {
		t.Errorf("templates %d times, those of options %d times", r.sets[2], r.sets[3])
	}
	// The control: they are not sent each time.
	c, r = udp(t, "127.0.0.1:0")
	x = open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{TemplateInterval: time.Hour})
	for i := range 3 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there", func() bool { return r.count(t) == i+1 })
	}
	if r.sets[2] != 1 {
		t.Errorf("templates %d times", r.sets[2])
	}
}

// What a caller lost itself is told, also when there is nothing else to send.
func TestGapIsCounted(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	from, to := time.UnixMilli(1_700_000_000_000), time.UnixMilli(1_700_000_001_000)
	if err := x.Append(&natlog.Record{Kind: natlog.Gap, Time: to, Duration: to.Sub(from), Lost: 17}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is told", func() bool { return r.lost() == 17 })
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told[len(r.told)-1]
	if first, last := binary.BigEndian.Uint64(told[152]), binary.BigEndian.Uint64(told[153]); int64(first) != from.UnixMilli() || int64(last) != to.UnixMilli() {
		t.Errorf("from %d to %d", first, last)
	}
}

// A collector that stops reading costs records, never the caller's time or memory.
// When it reads again, what arrived and what it is told was lost are all there were.
func TestTCPStalls(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var log log
	begun := time.Now()
	x := open(t, l.Addr().String()+"/tcp", Options{QueueBytes: leastQueue, Log: log.logger()})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var heap, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&heap)
	slowest, e := time.Duration(0), event(1)
	appended := uint64(0)
	until(t, "the stall is said, and records are lost", func() bool {
		for range 1000 {
			asked := time.Now()
			if err := x.Append(e); err != nil && !errors.Is(err, ErrLost) {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(asked))
			appended++
		}
		s := x.Stats()
		return s.Err != nil && s.Lost > 0
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(heap.HeapAlloc); grown > 1<<20 {
		t.Errorf("it took %d bytes more", grown)
	}
	if slowest > 500*time.Millisecond {
		t.Errorf("Append took %s", slowest)
	}
	r := newReading()
	go r.stream(c)
	until(t, "all records are accounted for", func() bool { return uint64(r.count(t))+r.lost() == appended })
	if s := x.Stats(); s.Lost != r.lost() || s.Lost == 0 || s.Err != nil || s.Sent+s.Lost != appended {
		t.Errorf("%+v, told of %d", s, r.lost())
	}
	if n := log.count("does not get all records"); n != 1 {
		t.Errorf("that records are lost is said %d times:\n%s", n, log.String())
	}
	// A kernel that is busy takes some more, and nothing again: once a second at most.
	if n, back := log.count("takes nothing any more"), log.count("records go to"); n == 0 || n > int(time.Since(begun).Seconds()) || back != n+1 {
		t.Errorf("that it stalls is said %d times, that it takes records %d times:\n%s", n, back, log.String())
	}
}

// turns is a connection whose next writes wait so long in vain; then all is taken.
type turns struct {
	net.Conn
	wait []time.Duration
}

func (c *turns) SetWriteDeadline(time.Time) error { return nil }

func (c *turns) Write(b []byte) (int, error) {
	if len(c.wait) == 0 {
		return len(b), nil
	}
	time.Sleep(c.wait[0]) // of synctest
	c.wait = c.wait[1:]
	return 0, os.ErrDeadlineExceeded
}

// A process that did not run does not take that for a stall; a collector that takes
// nothing for more than a second is said once, and that it is back.
func TestWhatIsAStall(t *testing.T) {
	second := slices.Repeat([]time.Duration{turn}, int(time.Second/turn))
	for _, tt := range []struct {
		name string
		wait []time.Duration
		said int
	}{
		{"nothing waits", nil, 0},
		{"the process was not run", []time.Duration{time.Hour, turn, turn}, 0},
		{"a second", second, 0},
		{"more than a second", append(second, turn), 1},
		{"much more", slices.Repeat(second, 30), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log log
			x := &Exporter{opts: Options{Log: log.logger()}, heard: true}
			s := &session{conn: &turns{wait: tt.wait}, gone: make(chan error)}
			if err := x.write(t.Context(), s, beginMessage(nil)); err != nil {
				t.Fatal(err)
			}
			if n, back := log.count("takes nothing any more"), log.count("records go to"); n != tt.said || back != tt.said || x.err != nil {
				t.Errorf("%s: said %d times, not %d; %d times that it is back", tt.name, n, tt.said, back)
			}
		})
	}
}

// A connection that breaks is made again; templates come first. What the other side's
// kernel had not acknowledged counts as lost.
func TestTCPBreaks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	x := open(t, at+"/tcp", Options{})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// It reads nothing, and dies with its window full.
	const records = 60_000
	for i := range records {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "nothing goes any more", func() bool { return x.Stats().Err != nil })
	if err := errors.Join(l.Close(), c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
	until(t, "it is noticed", func() bool { return x.Stats().Lost > 0 && x.Stats().Err != nil })
	sent := x.Stats().Sent // more only with the next connection
	if l, err = net.Listen("tcp", at); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r := newReading()
	go r.stream(c)
	until(t, "the rest is there", func() bool { return x.Stats().Sent == records && uint64(r.count(t)) == records-sent })
	if lost := x.Stats().Lost; lost == 0 || lost > sent || r.lost() != lost {
		t.Errorf("%d are lost, %d were sent, %d are told", lost, sent, r.lost())
	}
}

// Close brings away what waits, and does not wait for a collector that is stuck.
func TestClose(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	for i := range 100 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	x.Close()
	until(t, "all is there", func() bool { return r.count(t) == 100 })
	if err := x.Append(event(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	x.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var log log
	x = open(t, l.Addr().String()+"/tcp", Options{Log: log.logger()})
	for {
		if err := x.Append(event(0)); errors.Is(err, ErrLost) {
			break
		}
	}
	before := x.Stats()
	begun := time.Now()
	x.Close()
	if took := time.Since(begun); took > time.Minute { // a fifth of a second where a processor is free
		t.Errorf("it took %s", took)
	}
	if after := x.Stats(); after.Lost <= before.Lost || log.count("records never reach") != 1 {
		t.Errorf("%+v, then %+v:\n%s", before, after, log.String())
	}
}

// log is what an exporter says.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *log) count(what string) int { return strings.Count(l.String(), what) }

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// BenchmarkExport is what the exporter itself is capable of: with each record, its
// share of a datagram to a collector on the same machine.
func BenchmarkExport(b *testing.B) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() {
		for m := make([]byte, 1<<16); ; {
			if _, err := c.Read(m); err != nil {
				return
			}
		}
	}()
	x := open(b, c.LocalAddr().String(), Options{})
	e := event(1)
	for b.Loop() {
		for errors.Is(x.Append(e), ErrLost) {
			runtime.Gosched()
		}
	}
	until(b, "all was sent", func() bool { return x.Stats().Sent == x.Stats().Taken })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
