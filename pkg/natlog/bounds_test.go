package natlog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestMaxTotalBytes: the files never exceed MaxTotalBytes, and have the latest records
// without a gap.
func TestMaxTotalBytes(t *testing.T) {
	dir := t.TempDir()
	w := openLog(t, dir, small)
	n := uint64(0)
	removed := false
	for range 120 {
		for range 1500 {
			r := numbered(n)
			assert.NoError(t, w.Append(&r))
			n++
		}
		assert.NoError(t, w.Flush())
		if size := sizeOf(t, dir); size > small.MaxTotalBytes {
			t.Fatalf("after %d records the files have %d bytes", n, size)
		}
		for _, path := range files(t, dir, segmentSuffix) {
			// A block that is larger than a segment is alone in it, since blocks are not split.
			if info := assert.Must(os.Stat(path))(t); info.Size() > small.MaxSegmentBytes && blocksOf(t, path) > 1 {
				t.Fatalf("%s has %d bytes", path, info.Size())
			}
		}
		removed = removed || records(t, dir)[0].Packets[0] != 0
	}
	all := records(t, dir)
	for i, r := range all {
		if want := n - uint64(len(all)-i); r.Packets[0] != want {
			t.Fatalf("record %d of %d has number %d, want %d", i, len(all), r.Packets[0], want)
		}
	}
	if size := sizeOf(t, dir); !removed || size < small.MaxTotalBytes/2 {
		t.Errorf("oldest records removed: %t; %d bytes are left, the limit is %d", removed, size, small.MaxTotalBytes)
	}
}

func blocksOf(t testing.TB, path string) int {
	t.Helper()
	f := assert.Must(os.Open(path))(t)
	defer f.Close()
	var c contents
	assert.NoError(t, c.read(f, assert.Must(f.Stat())(t).Size()))
	return len(c.blocks)
}

// TestMaxAge: records are removed because of their age, measured by the monotonic clock.
func TestMaxAge(t *testing.T) {
	dir := t.TempDir()
	o := small
	o.MaxAge = 16 * time.Hour
	past := time.Duration(0)
	step := time.Duration(0) // by which the wall clock is set ahead
	o.Now = func() time.Time { return epoch.Add(past + step) }
	w := assert.Must(open(dir, o, func() time.Duration { return past }))(t)
	defer w.Close()
	tick := func() {
		t.Helper()
		r := numbered(0)
		r.Time = o.Now()
		assert.NoError(t, w.Append(&r))
		assert.NoError(t, w.Flush())
		past += 10 * time.Minute
	}
	oldest := func() time.Duration { t.Helper(); return o.Now().Sub(records(t, dir)[0].Time) }
	for past < 15*time.Hour {
		tick()
	}
	if age := oldest(); age != 15*time.Hour {
		t.Errorf("the oldest record is %s old, want 15h: nothing should have been removed", age)
	}
	for past < 60*time.Hour {
		tick()
		if age := oldest(); age > 18*time.Hour+20*time.Minute || past > 20*time.Hour && age < 16*time.Hour {
			t.Fatalf("after %s the oldest record is %s old", past, age)
		}
	}
	// Setting the clock ahead by a year, and back, ages no record.
	before := len(records(t, dir))
	step = 365 * 24 * time.Hour
	tick()
	step = 0
	tick()
	if n := len(records(t, dir)); n < before-10 { // a file of one hour may have been removed because of its age
		t.Errorf("%d records before the clock was set, %d after", before, n)
	}
}

// TestOtherFilesAreIgnored: files with other names are neither read nor removed.
func TestOtherFilesAreIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"readme", "x.natlog", "20260101T000000Z-12.natlog", "zzzzzzzzzzzzzzzz.tail", "1.tail"} {
		assert.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600))
	}
	w := openLog(t, dir, small)
	all := some(100)
	appendAll(t, w, all)
	assert.NoError(t, w.Close())
	same(t, records(t, dir), all)
	if left := len(files(t, dir, "")); left != 5+2 {
		t.Errorf("%d files are left, want 7: %v", left, files(t, dir, ""))
	}
}
