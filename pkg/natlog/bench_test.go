package natlog

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// go test ./pkg/natlog -run '^$' -bench Find -natlog.records 100000000 -timeout 30m
var manyRecords = flag.Int("natlog.records", 1_000_000, "number of records in the log that BenchmarkFind searches")

// roomy has limits that no benchmark reaches.
var roomy = Options{MaxTotalBytes: 1 << 40, FlushInterval: time.Hour}

// write makes a log of n records of flows that begin at a rate. It returns the time of the
// last record.
func write(b testing.TB, dir string, n int, flowsPerSecond float64) time.Time {
	b.Helper()
	w := openLog(b, dir, roomy)
	tr := newTraffic(1, flowsPerSecond)
	var r Record
	for range n {
		tr.next(&r)
		// The queue is full if records are made faster than they are written.
		for w.Append(&r) != nil {
			assert.NoError(b, w.Flush())
		}
	}
	assert.NoError(b, w.Close())
	return r.Time
}

// TestBytesPerRecord measures the disk space of a log per record: traffic of 50 pods and
// several protocols, at the flow rates of an idle and of a busy node.
func TestBytesPerRecord(t *testing.T) {
	for _, rate := range []float64{10, 100, 1000, 3000} {
		n := 200_000
		dir := t.TempDir()
		o := roomy
		w := openLog(t, dir, o)
		tr := newTraffic(1, rate)
		var r Record
		flushed := epoch
		// Skip the start, in which fewer flows end than begin.
		for range int(rate * 200) {
			tr.next(&r)
		}
		for range n {
			tr.next(&r)
			assert.NoError(t, w.Append(&r))
			if r.Time.Sub(flushed) >= time.Second {
				flushed = r.Time
				assert.NoError(t, w.Flush())
			}
		}
		assert.NoError(t, w.Close())
		perRecord := float64(sizeOf(t, dir)) / float64(n)
		t.Logf("%6.0f flows/s: %.2f bytes a record", rate, perRecord)
		if perRecord > 12 {
			t.Errorf("%.0f flows/s: %.2f bytes a record, want 12 or less", rate, perRecord)
		}
	}
}

// BenchmarkAppend measures the rate at which a log writes records without dropping any.
func BenchmarkAppend(b *testing.B) {
	all := some(400_000)[200_000:]
	w := openLog(b, b.TempDir(), Options{MaxTotalBytes: 1 << 30})
	b.ReportAllocs()
	lost := 0
	i := 0
	for b.Loop() {
		if w.Append(&all[i%len(all)]) != nil {
			lost++
			assert.NoError(b, w.Flush())
		}
		i++
	}
	assert.NoError(b, w.Flush())
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(lost), "lost")
}

func BenchmarkEncode(b *testing.B) {
	rows := rowsOf(b, some(200_000)[200_000-blockRecords:])
	e := assert.Must(newEncoder())(b)
	var out []byte
	for b.Loop() {
		out = e.encode(out[:0], 0, rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blockRecords, "ns/record")
	b.ReportMetric(float64(len(out))/blockRecords, "bytes/record")
}

func BenchmarkDecode(b *testing.B) {
	block := encodeRows(b, 0, rowsOf(b, some(200_000)[200_000-blockRecords:]))
	d := assert.Must(newDecoder())(b)
	for b.Loop() {
		if _, err := decodeRows(d, block); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blockRecords, "ns/record")
}

// BenchmarkFind searches the log of one day. -natlog.records is its number of records.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	start := time.Now()
	last := write(b, dir, *manyRecords, float64(*manyRecords)/2/86400)
	b.Logf("%d records in %s, %.2f bytes a record, over %s", *manyRecords, time.Since(start).Round(time.Second),
		float64(sizeOf(b, dir))/float64(*manyRecords), last.Sub(epoch).Round(time.Second))
	noon := epoch.Add(last.Sub(epoch) / 2)
	port := uint16(0)
	for _, c := range []struct {
		name string
		q    Query
		cold bool
	}{
		{"moment", Query{From: noon, Until: noon}, false},
		{"hour", Query{From: noon, Until: noon.Add(time.Hour)}, false},
		{"hour-cold", Query{From: noon, Until: noon.Add(time.Hour)}, true},
		{"all", Query{}, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			flows, slowest := 0, time.Duration(0)
			for b.Loop() {
				if c.cold {
					b.StopTimer()
					forget(b, dir)
					b.StartTimer()
				}
				port += 7919
				c.q.Addr = netip.AddrPortFrom(egress, 1024+port%64512)
				start := time.Now()
				a := assert.Must(Find(context.Background(), dir, c.q))(b)
				flows += len(a.Flows)
				slowest = max(slowest, time.Since(start))
			}
			b.ReportMetric(float64(flows)/float64(b.N), "flows")
			b.ReportMetric(slowest.Seconds(), "s-slowest")
		})
	}
}

// forget removes a log from the page cache, so that the next reader reads from disk.
func forget(b testing.TB, dir string) {
	b.Helper()
	for _, path := range assert.Must(filepath.Glob(filepath.Join(dir, "*")))(b) {
		f := assert.Must(os.Open(path))(b)
		assert.NoError(b, f.Sync())
		assert.NoError(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		assert.NoError(b, f.Close())
	}
}
