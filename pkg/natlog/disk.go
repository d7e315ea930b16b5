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
	// blockRecords is how many records a block of a segment has. With more, blocks are
	// a few hundredths smaller and a search for one port has to unpack more.
	blockRecords = 1 << 14
	// maxTail is the size at which a tail is packed, for logs with few records.
	maxTail = 4 << 20
)

// disk is the log's files and the records that no segment has yet. Those are in a
// file of their own, the tail, in small blocks; when there are enough of them for a
// good block of the segment, the tail is removed.
type disk struct {
	dir     string
	opts    Options
	start   time.Time
	elapsed func() time.Duration
	encoder *encoder
	buf     []byte

	pending    []row
	seq        uint64 // number of the first one
	flushed    int    // so many of them are in the tail
	since      time.Duration
	ownerBytes int
	block      uint64

	tail     *os.File
	tailSize int64
	oldTails []string // of an earlier writer; pending has their records

	segment     *os.File
	segmentPath string
	size        int64
	blocks      []place
	begun       time.Duration

	files   []kept // that are not written to, oldest first
	err     error
	written uint64
}

// kept is a whole file.
type kept struct {
	path string
	size int64
	last int64 // the latest time in it
}

// add takes rows until there is no more room in memory.
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
			d.since = d.elapsed()
		}
		if o != nil && o.block != d.block {
			o.block = d.block
			d.ownerBytes += o.size()
		}
		d.pending = append(d.pending, rows[i])
	}
	if len(d.pending) == blockRecords {
		_ = d.pack() // the next record that finds no room says so
	}
	return len(rows), nil
}

// flush makes pending readable, and keeps the bounds.
func (d *disk) flush() error {
	if d.aged(d.since) || len(d.oldTails) > 0 || d.tailSize > maxTail {
		if err := d.pack(); err != nil {
			return err
		}
	}
	if len(d.pending) > d.flushed {
		if err := d.keep(d.writeTail()); err != nil {
			return err
		}
	}
	if len(d.blocks) > 0 && d.aged(d.begun) {
		d.seal()
	}
	d.bound(0)
	return d.keep(nil)
}

// keep remembers why nothing can be written.
func (d *disk) keep(err error) error {
	d.err = err
	return err
}

func (d *disk) writeTail() error {
	b := d.encoder.encode(d.buf[:0], d.seq+uint64(d.flushed), d.pending[d.flushed:])
	d.buf = b[:0]
	d.bound(int64(len(b)))
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

// pack moves pending into the segment, and removes the tail. It is undone where it
// fails, and can be tried again.
func (d *disk) pack() error {
	if len(d.pending) == 0 {
		return d.keep(d.dropTails())
	}
	b := d.encoder.encode(d.buf[:0], d.seq, d.pending)
	d.buf = b[:0]
	more := func() int64 { return int64(len(b)+(len(d.blocks)+1)*indexEntry) + blockHead + trailer }
	if len(d.blocks) > 0 && d.size+more() > d.opts.MaxSegmentBytes {
		d.seal()
	}
	d.bound(more() + fileHead)
	return d.keep(d.writeBlock(b))
}

func (d *disk) writeBlock(b []byte) (err error) {
	if d.segment == nil {
		path := segmentPath(d.dir, d.opts.Now(), d.seq)
		f, err := create(path)
		if err != nil {
			return err
		}
		d.segment, d.segmentPath, d.size, d.begun, d.blocks = f, path, fileHead, d.elapsed(), nil
	}
	if err := writeAt(d.segment, b, d.size); err != nil {
		return err
	}
	if d.tail != nil || len(d.oldTails) > 0 {
		// Not before the records are there for certain is their other copy removed.
		if err := unix.Fdatasync(int(d.segment.Fd())); err != nil {
			return errors.Join(os.NewSyscallError("fdatasync "+d.segmentPath, err), d.segment.Truncate(d.size))
		}
	}
	p := place{off: d.size}
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

// seal ends the segment with its index. Without, as on a full disk, readers take
// longer and find the same.
func (d *disk) seal() {
	b := appendIndex(nil, d.size, d.blocks, d.seq, d.opts.Now().UnixMilli())
	if writeAt(d.segment, b, d.size) == nil {
		d.size += int64(len(b))
	}
	k := kept{path: d.segmentPath, size: d.size}
	for i, p := range d.blocks {
		if i == 0 {
			k.last = p.last
		}
		k.last = max(k.last, p.last)
	}
	d.files = append(d.files, k)
	_ = d.segment.Close() // all of it was written
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

// aged reports whether something is old enough to be set aside, so that whole files
// are what grows too old.
func (d *disk) aged(since time.Duration) bool {
	return d.opts.MaxAge > 0 && d.elapsed()-since > d.opts.MaxAge/16
}

func (d *disk) total() int64 {
	n := d.size + d.tailSize
	for _, k := range d.files {
		n += k.size
	}
	return n
}

// bound removes the oldest files until so many bytes more are within the bounds. A
// clock that is set forward while the writer runs makes nothing older.
func (d *disk) bound(more int64) {
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
			return // it is tried again
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

// create makes a file with its head, or none.
func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin a file of the NAT log: %w", err)
	}
	if err := writeAt(f, appendFileHead(nil), 0); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// writeAt writes all, or leaves the file as it was.
func writeAt(f *os.File, b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return errors.Join(fmt.Errorf("write the NAT log: %w", err), f.Truncate(off))
	}
	return nil
}
