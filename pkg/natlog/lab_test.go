package natlog

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
)

// small has small limits, a queue that no test fills, and no flush except by Flush and Close.
var small = Options{MaxSegmentBytes: minSegment, MaxTotalBytes: 1 << 20, FlushInterval: time.Hour, QueueRecords: 1 << 18}

func openLog(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	w := assert.Must(Open(dir, o))(t)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// records reads all records of a log, except gaps without a count, which each writer but the
// first begins with.
func records(t testing.TB, dir string) []Record {
	t.Helper()
	all, errs := readLog(dir)
	assert.NoError(t, errors.Join(errs...))
	return all
}

// readLog is records for a log that cannot be read as a whole.
func readLog(dir string) ([]Record, []error) {
	all, errs := readLogAndGaps(dir)
	return slices.DeleteFunc(all, func(r Record) bool { return r.Kind == Gap && r.Lost == 0 }), errs
}

func readLogAndGaps(dir string) (all []Record, errs []error) {
	v, err := openView(dir)
	if err != nil {
		return nil, []error{err}
	}
	defer v.close()
	errs = v.errs
	for rows, err := range decodeEach(context.Background(), v.blocks, func(d *decoder, b *ref) ([]row, error) {
		rows, err := readRows(d, b, b.off, b.size)
		if err != nil {
			err = b.fail(err)
		}
		return rows, err
	}) {
		if err != nil {
			errs = append(errs, err)
		}
		for i := range rows {
			var r Record
			rows[i].record(&r)
			all = append(all, r)
		}
	}
	return all, errs
}

// asKept returns a record as the log stores it, with times in milliseconds.
func asKept(r Record) Record {
	began := r.Began().UnixMilli()
	r.Time = time.UnixMilli(r.Time.UnixMilli())
	if r.Kind != Begin {
		r.Duration = time.Duration(r.Time.UnixMilli()-began) * time.Millisecond
	}
	return r
}

// same compares records and reports the first difference.
func same(t testing.TB, got, want []Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if w := asKept(want[i]); got[i] != w {
			t.Fatalf("record %d is %+v\nwant %+v", i, got[i], w)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
}

// numbered returns a record whose tuples and counters follow from a number.
func numbered(n uint64) Record {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 443)
	return Record{
		Time: epoch.Add(time.Duration(n) * time.Millisecond), Kind: End, Proto: 6,
		Owner: Owner{
			masq.Key{Network: "pods", ContainerID: fmt.Sprint("c", n%7), Interface: "eth0"},
			masq.Pod{Namespace: "ns", Name: fmt.Sprint("pod-", n%7)},
		},
		Original:   Tuple{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 88, 0, byte(n % 7)}), uint16(n)), to},
		Translated: Tuple{netip.AddrPortFrom(egress, uint16(n*7)), to},
		Packets:    [2]uint64{n, n + 1}, Bytes: [2]uint64{n * 100, n * n},
		Duration: time.Duration(n%5000+1) * time.Millisecond,
	}
}

func appendAll(t testing.TB, w *Writer, all []Record) {
	t.Helper()
	for i := range all {
		assert.NoError(t, w.Append(&all[i]))
	}
}

// some returns the first n records of traffic.
func some(n int) []Record {
	tr := newTraffic(1, 1000)
	all := make([]Record, n)
	for i := range all {
		tr.next(&all[i])
	}
	return all
}

func files(t testing.TB, dir, suffix string) []string {
	t.Helper()
	return assert.Must(filepath.Glob(filepath.Join(dir, "*"+suffix)))(t)
}

func sizeOf(t testing.TB, dir string) int64 {
	t.Helper()
	n := int64(0)
	for _, e := range assert.Must(os.ReadDir(dir))(t) {
		n += assert.Must(e.Info())(t).Size()
	}
	return n
}

func isAll(err error, all ...error) bool {
	return !slices.ContainsFunc(all, func(x error) bool { return !errors.Is(err, x) })
}
