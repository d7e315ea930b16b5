package natlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// blockRecords is the number of records of a block of a segment. Larger blocks save a few
	// percent of space, but a query for one port has to unpack more.
	blockRecords = 1 << 14
	// maxTail is the size of a tail, in bytes, above which it is packed even if it has fewer
	// than blockRecords records.
	maxTail = 4 << 20
)

// disk writes the files of the log. Records are in pending and, in small blocks, in the
// tail, until they fill a block of the segment. Then the tail is removed.
type disk struct {
	dir     string
	opts    Options
	start   time.Time
	elapsed func() time.Duration
	encoder *encoder
	buf     []byte

	pending      []row
	seq          uint64 // number of pending[0]
	flushed      int    // number of pending rows that are in the tail
	pendingSince time.Duration
	ownerBytes   int
	block        uint64 // identifies the present block for owner.block

	tail     *os.File
	tailSize int64
	oldTails []string // tails of earlier writers, whose records are in pending

	segment      *os.File
	segmentPath  string
	size         int64
	blocks       []locatedBlock
	segmentStart time.Duration

	files   []sealedFile // oldest first
	err     error
	written uint64
}

// sealedFile is a file to which nothing more is written.
type sealedFile struct {
	path string
	size int64
	last int64 // time of its latest record
}

// add appends rows to pending. It returns an error, and how many rows it has appended, if
// pending is full and cannot be written.
func (d *disk) add(rows []row) (n int, err error) {
	for i := range rows {
		o := rows[i].owner
		isNew := o != nil && o.block != d.block
		if len(d.pending) == blockRecords || isNew && d.ownerBytes+o.size() > maxOwnersBytes {
			if err := d.pack(); err != nil {
				return i, err
			}
		}
		if len(d.pending) == 0 {
			d.pendingSince = d.elapsed()
		}
		if o != nil && o.block != d.block {
			o.block = d.block
			d.ownerBytes += o.size()
		}
		d.pending = append(d.pending, rows[i])
	}
	if len(d.pending) == blockRecords {
		_ = d.pack() // add tries again, and returns the error, at the next record
	}
	return len(rows), nil
}

// flush makes pending readable, and removes files beyond the limits.
func (d *disk) flush() error {
	if d.isOld(d.pendingSince) || len(d.oldTails) > 0 || d.tailSize > maxTail {
		if err := d.pack(); err != nil {
			return err
		}
	}
	if len(d.pending) > d.flushed {
		if err := d.setErr(d.writeTail()); err != nil {
			return err
		}
	}
	if len(d.blocks) > 0 && d.isOld(d.segmentStart) {
		d.seal()
	}
	d.removeOldest(0)
	return d.setErr(nil)
}

// setErr stores the error for Stats.
func (d *disk) setErr(err error) error {
	d.err = err
	return err
}

// writeTail writes the rows of pending that are not flushed to the tail.
func (d *disk) writeTail() error {
	b := d.encoder.encode(d.buf[:0], d.seq+uint64(d.flushed), d.pending[d.flushed:])
	d.buf = b[:0]
	d.removeOldest(int64(len(b)))
	if d.tail == nil {
		f, err := create(tailPath(d.dir, d.seq))
		if err != nil {
			return err
		}
		d.tail, d.tailSize = f, fileHead
	}
	if err := writeAt(d.tail, b, d.tailSize); err != nil {
		return err
	}
	d.tailSize += int64(len(b))
	d.written += uint64(len(d.pending) - d.flushed)
	d.flushed = len(d.pending)
	return nil
}

// pack writes pending to the segment and removes the tail. If it fails, it changes nothing
// and can be called again.
func (d *disk) pack() error {
	if len(d.pending) == 0 {
		return d.setErr(d.dropTails())
	}
	b := d.encoder.encode(d.buf[:0], d.seq, d.pending)
	d.buf = b[:0]
	more := func() int64 { return int64(len(b)+(len(d.blocks)+1)*indexEntry) + blockHead + trailer }
	if len(d.blocks) > 0 && d.size+more() > d.opts.MaxSegmentBytes {
		d.seal()
	}
	d.removeOldest(more() + fileHead)
	return d.setErr(d.writeBlock(b))
}

// writeBlock writes the block of pending to the segment.
func (d *disk) writeBlock(b []byte) (err error) {
	if d.segment == nil {
		path := segmentPath(d.dir, d.opts.Now(), d.seq)
		f, err := create(path)
		if err != nil {
			return err
		}
		d.segment, d.segmentPath, d.size, d.segmentStart, d.blocks = f, path, fileHead, d.elapsed(), nil
	}
	if err := writeAt(d.segment, b, d.size); err != nil {
		return err
	}
	if d.tail != nil || len(d.oldTails) > 0 {
		// Sync before the tail, the other copy of these records, is removed.
		if err := unix.Fdatasync(int(d.segment.Fd())); err != nil {
			return errors.Join(os.NewSyscallError("fdatasync "+d.segmentPath, err), d.segment.Truncate(d.size))
		}
	}
	p := locatedBlock{off: d.size}
	if err := p.parse(b); err != nil {
		return err
	}
	d.blocks = append(d.blocks, p)
	d.size += int64(len(b))
	d.written += uint64(len(d.pending) - d.flushed)
	d.seq += uint64(len(d.pending))
	clear(d.pending)
	d.pending, d.flushed, d.ownerBytes = d.pending[:0], 0, 0
	d.block++
	return d.dropTails()
}

// dropTails removes all tails.
func (d *disk) dropTails() error {
	var errs []error
	if d.tail != nil {
		errs = append(errs, os.Remove(d.tail.Name()), d.tail.Close())
		d.tail, d.tailSize = nil, 0
	}
	for _, path := range d.oldTails {
		errs = append(errs, os.Remove(path))
	}
	d.oldTails = nil
	return errors.Join(errs...)
}

// seal ends the segment with its index. If the index cannot be written, as on a full disk,
// readers list the blocks without it, which takes longer.
func (d *disk) seal() {
	b := appendIndex(nil, d.size, d.blocks, d.seq, d.opts.Now().UnixMilli())
	if writeAt(d.segment, b, d.size) == nil {
		d.size += int64(len(b))
	}
	k := sealedFile{path: d.segmentPath, size: d.size}
	for i, p := range d.blocks {
		if i == 0 {
			k.last = p.last
		}
		k.last = max(k.last, p.last)
	}
	d.files = append(d.files, k)
	_ = d.segment.Close() // errors of writing were returned by writeAt
	d.segment, d.size, d.blocks = nil, 0, nil
}

// close packs what is pending and ends the segment.
func (d *disk) close() error {
	err := d.pack()
	if d.segment != nil {
		d.seal()
	}
	if d.tail != nil {
		err = errors.Join(err, d.tail.Close())
	}
	return errors.Join(err, d.encoder.zstd.Close())
}

// isOld reports whether 1/16 of MaxAge has passed since a time. Then the next file is begun,
// so that whole files can be removed because of their age.
func (d *disk) isOld(since time.Duration) bool {
	return d.opts.MaxAge > 0 && d.elapsed()-since > d.opts.MaxAge/16
}

func (d *disk) total() int64 {
	n := d.size + d.tailSize
	for _, k := range d.files {
		n += k.size
	}
	return n
}

// removeOldest removes the oldest files until the log is within its limits with more bytes
// to be written. Setting the clock forward while the writer runs does not age records.
func (d *disk) removeOldest(more int64) {
	now := d.opts.Now()
	if t := d.start.Add(d.elapsed()); t.Before(now) {
		now = t
	}
	limit := now.Add(-d.opts.MaxAge).UnixMilli()
	total := d.total() + more
	for len(d.files) > 0 {
		k := d.files[0]
		if total <= d.opts.MaxTotalBytes && (d.opts.MaxAge == 0 || k.last >= limit) {
			return
		}
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return // the next call tries again
		}
		total -= k.size
		d.files = d.files[1:]
	}
}

func (d *disk) stats() Stats {
	s := Stats{Written: d.written, Bytes: d.total(), Files: len(d.files), Err: d.err}
	for _, f := range [...]*os.File{d.segment, d.tail} {
		if f != nil {
			s.Files++
		}
	}
	return s
}

// create creates a file with its header. If it fails, it leaves no file.
func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create a file of the NAT log: %w", err)
	}
	if err := writeAt(f, appendFileHead(nil), 0); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// writeAt writes b at an offset, the end of the file. If it fails, it truncates the file to
// that offset.
func writeAt(f *os.File, b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return errors.Join(fmt.Errorf("write the NAT log: %w", err), f.Truncate(off))
	}
	return nil
}
