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
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestUDP: all records arrive once and in order.
func TestUDP(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	const records = 500
	for i := range records {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	assert.Until(t, "all records have arrived", func() bool { return r.count(t) == records })
	for i, e := range r.records {
		if got := int(binary.BigEndian.Uint16(e[7])); got != i {
			t.Fatalf("record %d has number %d", i, got)
		}
	}
	for _, n := range r.sizes {
		if n > maxUDPMessage {
			t.Errorf("a message has %d bytes, the limit is %d", n, maxUDPMessage)
		}
	}
	if len(r.sizes) > records/5 {
		t.Errorf("%d messages for %d records", len(r.sizes), records)
	}
	if s := x.Stats(); s.Appended != records || s.Sent != records || s.Lost != 0 || s.Err != nil {
		t.Errorf("%+v", s)
	}
}

// TestUDPCollectorComesAndGoes: records wait for a collector that starts late or restarts.
// Only records that were in flight when it stopped are lost.
func TestUDPCollectorComesAndGoes(t *testing.T) {
	c, _ := udp(t, "127.0.0.1:0")
	at := "127.0.0.1:" + port(c.LocalAddr())
	_ = c.Close()
	var log log
	x := open(t, at, Options{Log: log.logger()})
	assert.Until(t, "no collector answers", func() bool { return x.Stats().Err != nil })
	for i := range 10 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	c, r := udp(t, at)
	assert.Until(t, "the queued records have arrived", func() bool { return r.count(t) == 10 })
	_ = c.Close()
	assert.Until(t, "the exporter detects that the collector has stopped", func() bool {
		if err := x.Append(event(10)); err != nil {
			t.Fatal(err)
		}
		return x.Stats().Err != nil
	})
	before := x.Stats()
	_, r = udp(t, at)
	assert.Until(t, "all records are accounted for", func() bool {
		return r.count(t) > 0 && uint64(10+r.count(t))+r.lost() >= x.Stats().Appended && x.Stats().Err == nil
	})
	if after := x.Stats(); after.Appended != before.Appended || r.lost() != after.Lost {
		t.Errorf("stats %+v, then %+v; the collector was sent %d lost records", before, after, r.lost())
	}
	if n := log.count("cannot send records"); n < 2 || n > 3 {
		t.Errorf("logged %d times, want 2 or 3:\n%s", n, log.String())
	}
}

// TestUDPTemplatesAgain: templates are sent again with the next record after
// TemplateInterval, for a collector that has been restarted.
func TestUDPTemplatesAgain(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{TemplateInterval: time.Millisecond})
	for i := range 5 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
		assert.Until(t, "the record has arrived", func() bool { return r.count(t) == i+1 })
	}
	if r.sets[2] < 5 || r.sets[3] < 5 {
		t.Errorf("templates were sent %d times, options templates %d times, want 5 or more", r.sets[2], r.sets[3])
	}
	// For comparison: with a long interval they are sent once.
	c, r = udp(t, "127.0.0.1:0")
	x = open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{TemplateInterval: time.Hour})
	for i := range 3 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
		assert.Until(t, "the record has arrived", func() bool { return r.count(t) == i+1 })
	}
	if r.sets[2] != 1 {
		t.Errorf("templates were sent %d times, want 1", r.sets[2])
	}
}

// TestGapIsCounted: the lost records of a Gap are sent as statistics without further records.
func TestGapIsCounted(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	from, to := time.UnixMilli(1_700_000_000_000), time.UnixMilli(1_700_000_001_000)
	if err := x.Append(&natlog.Record{Kind: natlog.Gap, Time: to, Duration: to.Sub(from), Lost: 17}); err != nil {
		t.Fatal(err)
	}
	assert.Until(t, "the collector knows the lost records", func() bool { return r.lost() == 17 })
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.statistics[len(r.statistics)-1]
	if first, last := binary.BigEndian.Uint64(told[152]), binary.BigEndian.Uint64(told[153]); int64(first) != from.UnixMilli() || int64(last) != to.UnixMilli() {
		t.Errorf("lost from %d to %d", first, last)
	}
}

// TestTCPStalls: while a collector stops reading, records are dropped, and Append neither
// blocks nor uses more memory. When it reads again, the records that arrive and the lost
// records add up to all appended records.
func TestTCPStalls(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var log log
	begun := time.Now()
	x := open(t, l.Addr().String()+"/tcp", Options{QueueBytes: minQueue, Log: log.logger()})
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
	assert.Until(t, "the stall is detected, and records are lost", func() bool {
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
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if slowest > 500*time.Millisecond {
		t.Errorf("Append took %s", slowest)
	}
	r := newReading()
	go r.stream(c)
	assert.Until(t, "all records are accounted for", func() bool { return uint64(r.count(t))+r.lost() == appended })
	if s := x.Stats(); s.Lost != r.lost() || s.Lost == 0 || s.Err != nil || s.Sent+s.Lost != appended {
		t.Errorf("stats %+v; the collector was sent %d lost records", s, r.lost())
	}
	if n := log.count("records are dropped and counted"); n != 1 {
		t.Errorf("the loss is logged %d times, want once:\n%s", n, log.String())
	}
	// The socket may accept a little more data in between: one message per second at most.
	if n, back := log.count("accepts no more data"), log.count("sending records to"); n == 0 || n > int(time.Since(begun).Seconds()) || back != n+1 {
		t.Errorf("the stall is logged %d times, and its end %d times:\n%s", n, back, log.String())
	}
}

// slowConn is a connection whose next writes time out after some time; later writes succeed.
type slowConn struct {
	net.Conn
	wait []time.Duration
}

func (c *slowConn) SetWriteDeadline(time.Time) error { return nil }

func (c *slowConn) Write(b []byte) (int, error) {
	if len(c.wait) == 0 {
		return len(b), nil
	}
	time.Sleep(c.wait[0]) // in synctest
	c.wait = c.wait[1:]
	return 0, os.ErrDeadlineExceeded
}

// TestStallDetection: a stall of more than a second is logged once, and so is its end. Time in
// which the process was not scheduled is no stall.
func TestStallDetection(t *testing.T) {
	second := slices.Repeat([]time.Duration{writeTimeout}, int(time.Second/writeTimeout))
	for _, tt := range []struct {
		name   string
		wait   []time.Duration
		logged int
	}{
		{"no timeout", nil, 0},
		{"not scheduled", []time.Duration{time.Hour, writeTimeout, writeTimeout}, 0},
		{"a second", second, 0},
		{"more than a second", append(second, writeTimeout), 1},
		{"much more", slices.Repeat(second, 30), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log log
			x := &Exporter{opts: Options{Log: log.logger()}, wasConnected: true}
			s := &session{conn: &slowConn{wait: tt.wait}, closed: make(chan error)}
			if err := x.write(t.Context(), s, beginMessage(nil)); err != nil {
				t.Fatal(err)
			}
			if n, back := log.count("accepts no more data"), log.count("sending records to"); n != tt.logged || back != tt.logged || x.err != nil {
				t.Errorf("%s: stall logged %d times, want %d; its end logged %d times", tt.name, n, tt.logged, back)
			}
		})
	}
}

// TestTCPBreaks: the exporter connects again after a connection breaks, and sends templates
// first. Records that were not acknowledged count as lost.
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
	// The collector reads nothing and closes the connection with its window full.
	const records = 60_000
	for i := range records {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	assert.Until(t, "the exporter detects the stall", func() bool { return x.Stats().Err != nil })
	if err := errors.Join(l.Close(), c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
	assert.Until(t, "the exporter detects the broken connection", func() bool { return x.Stats().Lost > 0 && x.Stats().Err != nil })
	sent := x.Stats().Sent // constant until the next connection
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
	assert.Until(t, "the other records have arrived", func() bool { return x.Stats().Sent == records && uint64(r.count(t)) == records-sent })
	if lost := x.Stats().Lost; lost == 0 || lost > sent || r.lost() != lost {
		t.Errorf("%d records are lost, %d were sent before, the collector was sent %d lost records", lost, sent, r.lost())
	}
}

// TestClose: Close sends queued records, and does not wait long for a stalled collector.
func TestClose(t *testing.T) {
	c, r := udp(t, "127.0.0.1:0")
	x := open(t, "127.0.0.1:"+port(c.LocalAddr()), Options{})
	for i := range 100 {
		if err := x.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	x.Close()
	assert.Until(t, "all records have arrived", func() bool { return r.count(t) == 100 })
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
	if took := time.Since(begun); took > time.Minute { // 0.2 s on an idle machine
		t.Errorf("Close took %s", took)
	}
	if after := x.Stats(); after.Lost <= before.Lost || log.count("closed before all records") != 1 {
		t.Errorf("%+v, then %+v:\n%s", before, after, log.String())
	}
}

// log is the log of an exporter.
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

// BenchmarkExport measures Append and sending over UDP to a collector on the same machine.
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
	assert.Until(b, "all records are sent", func() bool { return x.Stats().Sent == x.Stats().Appended })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
