package natlog

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestAppendAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log", "nat")
	w := openLog(t, dir, small)
	all := some(50_000)
	appendAll(t, w, all)
	if n := len(records(t, dir)); n >= len(all) {
		t.Errorf("%d of %d records were flushed before FlushInterval", n, len(all))
	}
	assert.NoError(t, w.Flush())
	same(t, records(t, dir), all)
	s := w.Stats()
	if s.Appended != 50_000 || s.Written != 50_000 || s.Lost != 0 || s.Bytes != sizeOf(t, dir) || s.Err != nil {
		t.Errorf("stats are %+v; %d bytes on disk", s, sizeOf(t, dir))
	}
	assert.NoError(t, w.Close())
	same(t, records(t, dir), all)
	if err := w.Append(&all[0]); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := w.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("flush after close: %v", err)
	}
	assert.NoError(t, w.Close())
	for _, path := range files(t, dir, "") {
		if info := assert.Must(os.Stat(path))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
	}
}

// TestFlushInterval: records are readable after the interval, without Flush.
func TestFlushInterval(t *testing.T) {
	dir := t.TempDir()
	o := small
	o.FlushInterval = 50 * time.Millisecond
	w := openLog(t, dir, o)
	all := some(3)
	appendAll(t, w, all)
	assert.Until(t, "records are flushed", func() bool { return len(records(t, dir)) == 3 })
	if w.Stats().Written != 3 {
		t.Errorf("stats are %+v", w.Stats())
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	w := openLog(t, dir, small)
	if _, err := Open(dir, small); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	assert.NoError(t, w.Close())
	assert.NoError(t, openLog(t, dir, small).Close())
}

func TestAppendRefuses(t *testing.T) {
	w := openLog(t, t.TempDir(), small)
	good := some(1)[0]
	for name, spoil := range map[string]func(*Record){
		"kind":    func(r *Record) { r.Kind = 0 },
		"address": func(r *Record) { r.Translated.Dst = netip.AddrPort{} },
		"zone":    func(r *Record) { r.Original.Src = netip.MustParseAddrPort("[fe80::1%eth0]:1") },
		"names":   func(r *Record) { r.Owner.Name = strings.Repeat("x", maxOwner) },
	} {
		r := good
		spoil(&r)
		if err := w.Append(&r); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Log(err)
		}
	}
	if s := w.Stats(); s.Appended != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestOptions(t *testing.T) {
	assert.NoError(t, Options{}.Validate())
	err := Options{MaxSegmentBytes: 1, MaxTotalBytes: 2, MaxAge: 3, FlushInterval: 4, QueueRecords: 5}.Validate()
	for _, name := range []string{"MaxSegmentBytes: 1 ", "MaxTotalBytes: 2 ", "MaxAge: 3ns ", "FlushInterval: 4ns ", "QueueRecords: 5 "} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("no %q in %v", name, err)
		}
	}
}

// TestAppendAllocatesNothing: Append does not allocate. The writing goroutine allocates per
// block, which is less than once per record.
func TestAppendAllocatesNothing(t *testing.T) {
	w := openLog(t, t.TempDir(), Options{FlushInterval: time.Hour, QueueRecords: 2 * batchRecords})
	all := some(200)
	appendAll(t, w, all)
	i := 0
	if n := testing.AllocsPerRun(500, func() { assert.NoError(t, w.Append(&all[i%len(all)])); i++ }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

// TestGapForLostRecords: while the directory is moved away, no file can be created. Records
// wait in the queue, and a Gap counts the records that are dropped.
func TestGapForLostRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	o := small
	o.QueueRecords = 2 * batchRecords
	w := openLog(t, dir, o)
	assert.NoError(t, os.Rename(dir, dir+".away"))
	taken := 0
	var lost []Record
	for n := uint64(0); len(lost) < 1000; n++ {
		r := numbered(n)
		switch err := w.Append(&r); {
		case errors.Is(err, ErrLost):
			lost = append(lost, r)
		default:
			assert.NoError(t, err)
			if taken++; taken%batchRecords == 0 {
				if err := w.Flush(); err == nil {
					t.Fatal("Flush succeeds although the directory is moved away")
				}
			}
		}
	}
	if taken < blockRecords+batchRecords {
		t.Errorf("only %d records were queued", taken)
	}
	counted := Record{Time: lost[0].Time, Kind: Gap, Duration: time.Second, Lost: 5}
	if err := w.Append(&counted); !errors.Is(err, ErrLost) {
		t.Errorf("append a Gap to a full queue: %v, want ErrLost", err)
	}
	if s := w.Stats(); s.Lost != 1005 || s.Err == nil || s.Appended != uint64(taken) {
		t.Errorf("stats are %+v", s)
	}
	assert.NoError(t, os.Rename(dir+".away", dir))
	assert.NoError(t, w.Flush())
	all := records(t, dir)
	if len(all) != taken+1 {
		t.Fatalf("got %d records, want %d and a Gap", len(all), taken)
	}
	for i, r := range all[:taken] {
		if r.Packets[0] != uint64(i) {
			t.Fatalf("record %d is %+v", i, r)
		}
	}
	want := Record{Time: lost[999].Time, Kind: Gap, Lost: 1005, Duration: lost[999].Time.Sub(lost[0].Time) + time.Second}
	same(t, all[taken:], []Record{want})
	if s := w.Stats(); s.Err != nil {
		t.Errorf("stats are %+v", s)
	}
}

// TestCloseReportsLostRecords: the error of Close has the number of unwritten records.
func TestCloseReportsLostRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w := openLog(t, dir, small)
	appendAll(t, w, some(77))
	assert.NoError(t, os.Rename(dir, dir+".away"))
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "77 not written") {
		t.Errorf("got %v", err)
	}
}

// TestGapBetweenWriters: each writer but the first begins with a Gap, from the Close of the
// previous writer or, if that was killed, from its last record.
func TestGapBetweenWriters(t *testing.T) {
	dir := t.TempDir()
	o := small
	now := epoch
	o.Now = func() time.Time { return now }
	gaps := func() (out []Record) {
		all, errs := readLogAndGaps(dir)
		assert.NoError(t, errors.Join(errs...))
		return slices.DeleteFunc(all, func(r Record) bool { return r.Kind != Gap })
	}
	w := assert.Must(Open(dir, o))(t)
	r := numbered(0)
	assert.NoError(t, w.Append(&r))
	now = epoch.Add(time.Hour)
	assert.NoError(t, w.Close())
	if g := gaps(); len(g) != 0 {
		t.Fatalf("the first writer begins with the gaps %+v, want none", g)
	}
	now = epoch.Add(2 * time.Hour)
	w = assert.Must(Open(dir, o))(t)
	assert.NoError(t, w.Flush())
	want := Record{Kind: Gap, Time: now.Local(), Duration: time.Hour}
	same(t, gaps(), []Record{want})
	r.Time = now.Add(time.Minute)
	assert.NoError(t, w.Append(&r))
	assert.NoError(t, w.Flush())

	killed := t.TempDir() // the files that a writer would leave if it was killed now
	assert.NoError(t, os.CopyFS(killed, os.DirFS(dir)))
	assert.NoError(t, w.Close())
	dir = killed
	now = epoch.Add(4 * time.Hour)
	w = openLog(t, dir, o)
	assert.NoError(t, w.Flush())
	same(t, gaps(), []Record{want, {Kind: Gap, Time: now.Local(), Duration: 2*time.Hour - time.Minute}})
}
