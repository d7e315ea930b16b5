package natlog

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestTornEnd truncates the last file at many places. A reader finds the complete blocks and
// no error, and the next writer continues after them.
func TestTornEnd(t *testing.T) {
	for _, suffix := range [...]string{segmentSuffix, tailSuffix} {
		from := t.TempDir()
		w := openLog(t, from, small)
		all := some(blockRecords + 300)
		if suffix == segmentSuffix {
			appendAll(t, w, all[:blockRecords])
			assert.NoError(t, w.Flush())
			all = all[:blockRecords]
		} else {
			all = all[:300]
			for i := range 3 {
				appendAll(t, w, all[i*100:i*100+100])
				assert.NoError(t, w.Flush())
			}
		}
		path := files(t, from, suffix)[0]
		whole := assert.Must(os.ReadFile(path))(t)
		counts := map[int]int{}
		step := max(len(whole)/150, 1)
		for n := range len(whole) + 1 {
			if n%step != 0 && n != len(whole) {
				continue
			}
			dir := t.TempDir()
			assert.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), whole[:n], 0o600))
			got, errs := readLog(dir)
			if len(errs) != 0 {
				t.Fatalf("truncated to %d of %d bytes: %v", n, len(whole), errs)
			}
			same(t, got, all[:len(got)])
			counts[len(got)]++
			w := assert.Must(Open(dir, small))(t)
			assert.NoError(t, w.Append(&all[0]))
			assert.NoError(t, w.Close())
			again := records(t, dir)
			same(t, again, append(slices.Clone(all[:len(got)]), all[0]))
		}
		want := 2 // no record, or one block
		if suffix == tailSuffix {
			want = 4
		}
		if len(counts) < want {
			t.Errorf("%s: numbers of records were %v, want %d different ones", suffix, counts, want)
		}
		assert.NoError(t, w.Close())
	}
}

// TestFilesThatCannotBeRead: damaged files and files of a newer version are errors that name
// the file; all other files are read. A writer does not change unreadable files.
func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	w := openLog(t, dir, small)
	all := some(6 * blockRecords)
	appendAll(t, w, all)
	assert.NoError(t, w.Close())
	segments := files(t, dir, segmentSuffix)
	if len(segments) != 6 {
		t.Fatalf("segments are %v", segments)
	}
	spoil := func(path string, off int, b ...byte) {
		t.Helper()
		f := assert.Must(os.OpenFile(path, os.O_RDWR, 0))(t)
		assert.Must(f.WriteAt(b, int64(off)))(t)
		assert.NoError(t, f.Close())
	}
	newer, damaged, headless := segments[1], segments[3], segments[4]
	spoil(newer, 8, binary.LittleEndian.AppendUint32(nil, version+1)...)
	spoil(damaged, 50_000, 0xff, 0xee, 0xdd, 0xcc)
	spoil(headless, 0, []byte("elsewhat")...)
	before := [...][]byte{assert.Must(os.ReadFile(newer))(t), assert.Must(os.ReadFile(headless))(t)}
	tail := tailPath(dir, uint64(len(all)+5))
	assert.NoError(t, os.WriteFile(tail, binary.LittleEndian.AppendUint64([]byte(fileMagic), version+7), 0o600))

	readAll := func() []Record {
		t.Helper()
		got, errs := readLog(dir)
		if len(errs) < 4 {
			t.Fatalf("got %v, want 4 errors", errs)
		}
		for _, c := range []struct {
			path, word string
			is         error
		}{
			{newer, "version: 2, this program reads up to 1", ErrNewer},
			{tail, "version: 8, this program", ErrNewer},
			{damaged, "block at byte 16", ErrCorrupt},
			{headless, `begins with "elsewhat"`, ErrCorrupt},
		} {
			if !slices.ContainsFunc(errs, func(err error) bool {
				return errors.Is(err, c.is) && strings.Contains(err.Error(), c.path) && strings.Contains(err.Error(), c.word)
			}) {
				t.Errorf("no error for %s with %q in %v", c.path, c.word, errs)
			}
		}
		return got
	}
	want := slices.Concat(all[:blockRecords], all[2*blockRecords:3*blockRecords], all[5*blockRecords:])
	same(t, readAll(), want)
	x := all[5*blockRecords]
	a, err := Find(context.Background(), dir, Query{Addr: x.Translated.Src, Proto: x.Proto})
	if !isAll(err, ErrNewer, ErrCorrupt) || len(a.Flows) == 0 {
		t.Errorf("Find: answer %v, error %v", a, err)
	}

	w = openLog(t, dir, small)
	appendAll(t, w, all[:200])
	assert.NoError(t, w.Flush())
	same(t, readAll(), append(want, all[:200]...))
	assert.NoError(t, w.Close())
	same(t, readAll(), append(want, all[:200]...))
	for i, path := range [...]string{newer, headless} {
		if !slices.Equal(assert.Must(os.ReadFile(path))(t), before[i]) {
			t.Errorf("%s was changed", path)
		}
	}
}

// TestTailAlreadyInSegment: a writer that is killed between writing a segment and removing
// the tail leaves records in both. Readers return them once.
func TestTailAlreadyInSegment(t *testing.T) {
	dir := t.TempDir()
	w := openLog(t, dir, small)
	all := some(500)
	appendAll(t, w, all)
	assert.NoError(t, w.Flush())
	path := files(t, dir, tailSuffix)[0]
	tail := assert.Must(os.ReadFile(path))(t)
	same(t, records(t, dir), all)
	assert.NoError(t, w.Close())
	assert.NoError(t, os.WriteFile(path, tail, 0o600))
	same(t, records(t, dir), all)
	assert.NoError(t, openLog(t, dir, small).Close())
	same(t, records(t, dir), all)
	if left := files(t, dir, tailSuffix); len(left) != 0 {
		t.Errorf("the next writer left the tails %v", left)
	}
}

// TestPackedWhileOpening: a reader finds the records of a tail that is packed while it opens
// the files. If it opened the segments before the tails, it would miss them, which the second
// case shows.
func TestPackedWhileOpening(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second func(*view, string) error
		want          int
	}{
		{"tails first", (*view).openTails, (*view).openSegments, 500},
		{"segments first", (*view).openSegments, (*view).openTails, 0},
	} {
		dir := t.TempDir()
		w := openLog(t, dir, small)
		appendAll(t, w, some(500))
		assert.NoError(t, w.Flush())
		v := &view{}
		assert.NoError(t, c.first(v, dir))
		assert.NoError(t, w.Close())
		assert.NoError(t, c.second(v, dir))
		v.appendTails()
		n := 0
		for _, b := range v.blocks {
			n += int(b.count)
		}
		if v.close(); n != c.want {
			t.Errorf("%s: got %d records, want %d", c.name, n, c.want)
		}
	}
}

// TestTailDoesNotGrow: a tail of many small blocks is packed when it reaches maxTail.
func TestTailDoesNotGrow(t *testing.T) {
	dir := t.TempDir()
	o := small
	o.MaxTotalBytes = 64 << 20
	w := openLog(t, dir, o)
	all := some(blockRecords - 1)
	packed := false
	for i := range all {
		assert.NoError(t, w.Append(&all[i]))
		assert.NoError(t, w.Flush())
		if packed = len(files(t, dir, segmentSuffix)) != 0; packed {
			break
		}
		if size := sizeOf(t, dir); size > maxTail+64<<10 {
			t.Fatalf("after %d records the files have %d bytes", i, size)
		}
	}
	if !packed || len(files(t, dir, tailSuffix)) != 0 {
		t.Errorf("the tail was not packed; files are %v", files(t, dir, ""))
	}
}

// TestClockSteps: the clock is set back and ahead; ends are found by their own time.
func TestClockSteps(t *testing.T) {
	all := some(4 * blockRecords)
	for i := range all {
		switch i / (blockRecords / 2) {
		case 1, 5:
			all[i].Time = all[i].Time.Add(-48 * time.Hour)
		case 3:
			all[i].Time = all[i].Time.Add(30 * 365 * 24 * time.Hour)
		case 6:
			all[i].Time = time.UnixMilli(int64(i) - 52_000) // around 1970
		}
	}
	dir := logged(t, all)
	same(t, records(t, dir), all)
	ends := 0
	for i := 0; i < len(all); i += 97 {
		r := asKept(all[i])
		if r.Kind != End {
			continue
		}
		ends++
		a := assert.Must(Find(context.Background(), dir, Query{Addr: r.Translated.Src, Proto: r.Proto, From: r.Time, Until: r.Time}))(t)
		if !slices.ContainsFunc(a.Flows, func(f Flow) bool { return f.Original == r.Original && f.End.Equal(r.Time) }) {
			t.Fatalf("record %d: no flow %v that ended at %s in %+v", i, r.Original, r.Time, a.Flows)
		}
	}
	if ends < 100 {
		t.Errorf("only %d ends were queried", ends)
	}
}

// TestReadersDuringWrites: while a writer flushes, packs, seals and removes files, a reader
// finds each flushed record once and in order.
func TestReadersDuringWrites(t *testing.T) {
	dir := t.TempDir()
	w := openLog(t, dir, small)
	stop := make(chan struct{})
	flushed := make(chan uint64, 1)
	go func() {
		defer close(flushed)
		for n := uint64(0); ; {
			for range 400 {
				r := numbered(n)
				if err := w.Append(&r); err != nil {
					t.Error(err)
					return
				}
				n++
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-flushed: // replace the previous value
			default:
			}
			flushed <- n
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	removed := 0
	for reads := 0; reads < 40 || removed < 10; reads++ {
		n, ok := <-flushed
		if !ok {
			t.Fatal("the writer has failed")
		}
		got, errs := readLog(dir)
		if len(errs) != 0 {
			t.Fatal(errs)
		}
		for i := range got[1:] {
			if got[i+1].Packets[0] != got[i].Packets[0]+1 {
				t.Fatalf("record %d comes after %d", got[i+1].Packets[0], got[i].Packets[0])
			}
		}
		if last := got[len(got)-1].Packets[0] + 1; last < n {
			t.Fatalf("%d records were flushed, but only %d are found", n, last)
		}
		if got[0].Packets[0] > 0 {
			removed++
		}
	}
	close(stop)
	for range flushed {
	}
}
