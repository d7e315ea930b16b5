package natlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
)

// unknownRecords is added to the number of the next record after a file that cannot be read,
// whose number of records is unknown.
const unknownRecords = 1 << 32

// openDisk continues the files of earlier writers. It truncates incomplete blocks, loads the
// records of tails into pending, and writes to the last segment.
func openDisk(dir string, o Options, elapsed func() time.Duration) (_ *disk, err error) {
	d := &disk{dir: dir, opts: o, start: o.Now(), elapsed: elapsed, pending: make([]row, 0, blockRecords), block: 1}
	if d.encoder, err = newEncoder(); err != nil {
		return nil, err
	}
	segments, tails, err := list(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && d.segment != nil {
			err = errors.Join(err, d.segment.Close())
		}
	}()
	last := int64(math.MinInt64)
	for i, s := range segments {
		t, err := d.recoverSegment(s, i == len(segments)-1)
		if err != nil {
			return nil, err
		}
		last = max(last, t)
	}
	for _, s := range tails {
		t, err := d.recoverTail(s)
		if err != nil {
			return nil, err
		}
		last = max(last, t)
	}
	if last != math.MinInt64 {
		now := d.start.UnixMilli()
		if _, err := d.add([]row{{kind: Gap, time: max(now, last), began: min(now, last)}}); err != nil {
			return nil, err
		}
	}
	if len(d.oldTails) > 0 {
		_ = d.pack() // on a full disk the tails stay, and Stats has the error
	}
	return d, nil
}

// recoverSegment adds a segment to the sealed files, or continues it if it is the last. It
// returns the time until which it was written.
func (d *disk) recoverSegment(s logFile, isLast bool) (last int64, err error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("open the NAT log: %w", err)
	}
	defer func() {
		if f != d.segment {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	last = math.MinInt64
	var c contents
	err = c.read(f, info.Size())
	d.seq = max(d.seq, s.seq, c.next)
	k := sealedFile{path: s.path, size: info.Size(), last: info.ModTime().UnixMilli()}
	switch {
	case errors.Is(err, ErrNewer), errors.Is(err, ErrCorrupt):
		// Keep the file until it is too old: a newer version, or a person, may still read it.
		d.seq = max(d.seq, s.seq+unknownRecords)
		d.files = append(d.files, k)
		return k.last, nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, fmt.Errorf("recover %s: %w", s.path, err)
	case c.end < fileHead:
		return last, os.Remove(s.path) // its writer was killed while it created the file
	}
	for i, p := range c.blocks {
		if i == 0 {
			k.last = p.last
		}
		k.last = max(k.last, p.last)
		last = max(last, p.last)
	}
	if c.sealed && c.closed > last {
		last = c.closed
	}
	if c.sealed && !isLast {
		d.files = append(d.files, k)
		return last, nil
	}
	if err := f.Truncate(c.end); err != nil {
		return 0, fmt.Errorf("recover %s: %w", s.path, err)
	}
	d.segment, d.segmentPath, d.size, d.blocks, d.segmentStart = f, s.path, c.end, c.blocks, d.elapsed()
	if len(c.blocks) > 0 {
		d.segmentStart -= max(0, durationOf(d.start.UnixMilli()-c.blocks[0].first))
	}
	if !isLast {
		d.seal()
	}
	return last, nil
}

// recoverTail loads the records of a tail that are in no segment into pending. It returns
// the time until which the tail was written.
func (d *disk) recoverTail(s logFile) (last int64, err error) {
	last = math.MinInt64
	f, err := os.Open(s.path)
	if err != nil {
		return 0, fmt.Errorf("open the NAT log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var c contents
	err = c.read(f, info.Size())
	switch {
	case errors.Is(err, ErrNewer):
		return info.ModTime().UnixMilli(), d.continueAt(s.seq + unknownRecords)
	case errors.Is(err, ErrCorrupt):
		last = info.ModTime().UnixMilli()
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, fmt.Errorf("recover %s: %w", s.path, err)
	}
	dec, err := newDecoder()
	if err != nil {
		return 0, err
	}
	defer dec.zstd.Close()
	var rows []row
	for _, p := range c.blocks {
		last = max(last, p.last)
		if p.seq < d.seq+uint64(len(d.pending)) {
			continue
		}
		if err := errors.Join(dec.open(f, p.off, info.Size()), dec.loadAll()); err != nil {
			if errors.Is(err, ErrCorrupt) {
				rows := []row{{kind: Gap, time: p.last, began: p.first, lost: uint64(p.count)}}
				if _, err := d.add(rows); err != nil {
					return 0, err
				}
				continue
			}
			return 0, fmt.Errorf("recover %s: %w", s.path, err)
		}
		rows = rows[:0]
		for i := range int(p.count) {
			var w row
			dec.row(i, &w)
			rows = append(rows, w)
		}
		if err := d.continueAt(p.seq); err != nil {
			return 0, err
		}
		if _, err := d.add(rows); err != nil {
			return 0, fmt.Errorf("recover %s: %w", s.path, err)
		}
	}
	d.oldTails = append(d.oldTails, s.path)
	return last, nil
}

// continueAt sets the number of the next record. The numbers of a block are consecutive, so
// it packs pending first if the number differs.
func (d *disk) continueAt(seq uint64) error {
	if d.seq+uint64(len(d.pending)) == seq {
		return nil
	}
	if err := d.pack(); err != nil {
		return err
	}
	d.seq = max(d.seq, seq)
	return nil
}
