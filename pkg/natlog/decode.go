package natlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// decoder reads one block at a time, and each column when it is first used. It reuses its
// buffers and is not safe for concurrent use.
type decoder struct {
	zstd   *zstd.Decoder
	file   io.ReaderAt
	off    int64 // offset of the first column
	head   header
	cols   [columns]column
	loaded [columns]bool
	bufs   [columns][]byte
	dir    []byte
	packed []byte // a packed column

	nums  []uint64
	found []int

	classes    []class
	classOf    []uint16
	matching   []bool // by class: whether it matches the query
	times      []int64
	begans     []int64
	locals     []local
	localOf    []uint16
	remotes    []remote
	remoteOf   []uint16
	tupleIndex []uint16 // by row: its index among begins and ends
	endIndex   []uint16 // by row: its index among ends
	gapIndex   []uint16 // by row: its index among gaps
	counts     [4][]uint64
	lost       []uint64
	tuples     int // number of begins and ends
	ends       int
	gaps       int
	hasTimes   bool
	hasTuples  bool
	hasCounts  bool
}

func newDecoder() (*decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(maxColumn+pad), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &decoder{zstd: z}, nil
}

// open reads the header, the directory and the ports of the block at offset off. The file
// has size bytes.
func (d *decoder) open(f io.ReaderAt, off, size int64) error {
	var err error
	if d.dir, err = d.head.readHead(f, off, size, d.dir); err != nil {
		return err
	}
	if d.head.kind != kindRecords {
		return errCorrupt("the block has kind %d, want %d", d.head.kind, kindRecords)
	}
	d.file, d.off = f, off+blockHead+int64(d.head.directory)
	d.loaded = [columns]bool{}
	d.hasTimes, d.hasTuples, d.hasCounts = false, false, false
	d.classOf = d.classOf[:0]
	if err := takeColumns(&d.cols, d.dir, d.head.total-blockHead-d.head.directory); err != nil {
		return err
	}
	_, err = d.column(colPort, 2*int(d.head.count))
	return err
}

// column reads a column of want bytes.
func (d *decoder) column(i, want int) ([]byte, error) {
	if raw := d.cols[i].raw; int(raw) != want {
		return nil, errCorrupt("column %d has %d bytes, want %d", i, raw, want)
	}
	return d.columnUpTo(i, want)
}

// columnUpTo reads a column of at most limit bytes.
func (d *decoder) columnUpTo(i, limit int) ([]byte, error) {
	c := &d.cols[i]
	if int(c.raw) > limit {
		return nil, errCorrupt("column %d has %d bytes, the limit is %d", i, c.raw, limit)
	}
	if d.loaded[i] {
		return d.bufs[i], nil
	}
	d.bufs[i] = grow(d.bufs[i], int(c.raw))
	into := d.bufs[i]
	if c.packed {
		d.packed = grow(d.packed, int(c.size))
		into = d.packed
	}
	if err := readAt(d.file, into, d.off+int64(c.off)); err != nil {
		return nil, err
	}
	if crc32.Checksum(into, castagnoli) != c.sum && c.raw != 0 {
		return nil, errCorrupt("column %d has a wrong checksum", i)
	}
	if c.packed {
		out, err := d.zstd.DecodeAll(into, d.bufs[i][:0:c.raw])
		if err != nil {
			return nil, fmt.Errorf("%w: column %d: %w", ErrCorrupt, i, err)
		}
		if len(out) != int(c.raw) {
			return nil, errCorrupt("column %d unpacks to %d bytes, want %d", i, len(out), c.raw)
		}
	}
	d.loaded[i] = true
	return d.bufs[i], nil
}

// numbers reads the n numbers of columns i and i+1, and appends them to out.
func (d *decoder) numbers(out []uint64, i, n int) ([]uint64, error) {
	lens, err := d.column(i, n)
	if err != nil {
		return nil, err
	}
	packed, err := d.columnUpTo(i+1, 8*n)
	if err != nil {
		return nil, err
	}
	return takeNumbers(out, lens, packed)
}

// references reads the n references of columns i and i+1, and appends them to out. They
// must use each of the entries of their dictionary.
func (d *decoder) references(out []uint16, i, n, entries int) ([]uint16, error) {
	low, err := d.column(i, n)
	if err != nil {
		return nil, err
	}
	high, err := d.columnUpTo(i+1, n)
	if err != nil {
		return nil, err
	}
	out, used, err := takeReferences(out, low, high)
	if err == nil && used != entries {
		err = errCorrupt("a dictionary has %d entries, of which %d are used", entries, used)
	}
	return out, err
}

// loadClasses reads the kind, protocol and egress address of each row.
func (d *decoder) loadClasses() error {
	if len(d.classOf) != 0 {
		return nil
	}
	b, err := d.columnUpTo(colClasses, 19*int(d.head.count))
	if err != nil {
		return err
	}
	d.classes = d.classes[:0]
	for len(b) != 0 {
		if len(b) < 3 {
			return errCorrupt("a class has %d bytes, want 3 or more", len(b))
		}
		c := class{kind: Kind(b[0]), proto: b[1]}
		if c.kind < Begin || c.kind > Gap {
			return errCorrupt("a record has %s", c.kind)
		}
		if c.egress, b, err = takeAddr(b[3:], int(b[2])); err != nil {
			return err
		}
		if !c.egress.IsValid() != (c.kind == Gap) {
			return errCorrupt("a %s record has the egress address %s", c.kind, c.egress)
		}
		d.classes = append(d.classes, c)
	}
	refs, err := d.references(d.classOf[:0], colClassLow, int(d.head.count), len(d.classes))
	if err != nil {
		d.classOf = d.classOf[:0]
		return err
	}
	d.classOf = refs
	d.tupleIndex, d.endIndex, d.gapIndex = d.tupleIndex[:0], d.endIndex[:0], d.gapIndex[:0]
	d.tuples, d.ends, d.gaps = 0, 0, 0
	for _, c := range d.classOf {
		d.tupleIndex = append(d.tupleIndex, uint16(d.tuples))
		d.endIndex = append(d.endIndex, uint16(d.ends))
		d.gapIndex = append(d.gapIndex, uint16(d.gaps))
		switch d.classes[c].kind {
		case Begin:
			d.tuples++
		case End:
			d.tuples++
			d.ends++
		case Gap:
			d.gaps++
		}
	}
	return nil
}

// loadTimes reads the time of each row, and the begin of its flow or gap.
func (d *decoder) loadTimes() error {
	if d.hasTimes {
		return nil
	}
	if err := d.loadClasses(); err != nil {
		return err
	}
	var err error
	if d.nums, err = d.numbers(d.nums[:0], colTimeLens, int(d.head.count)); err != nil {
		return err
	}
	d.times, d.begans = d.times[:0], d.begans[:0]
	t := d.head.first
	for _, v := range d.nums {
		t += unzigzag(v)
		d.times = append(d.times, t)
	}
	if d.nums, err = d.numbers(d.nums[:0], colAgeLens, d.ends+d.gaps); err != nil {
		return err
	}
	next := 0
	for i, t := range d.times {
		if d.classes[d.classOf[i]].kind != Begin {
			t -= int64(d.nums[next])
			next++
		}
		d.begans = append(d.begans, t)
	}
	d.hasTimes = true
	return nil
}

// sourcePort returns the original source port of row i.
func (d *decoder) sourcePort(i int) (uint16, error) {
	if err := d.loadClasses(); err != nil {
		return 0, err
	}
	low, err := d.column(colSourceLow, d.tuples)
	if err != nil {
		return 0, err
	}
	high, err := d.column(colSourceHigh, d.tuples)
	if err != nil {
		return 0, err
	}
	at := d.tupleIndex[i]
	port := uint16(low[at]) | uint16(high[at])<<8
	if d.head.flags&flagSamePort != 0 {
		port += d.port(i)
	}
	return port, nil
}

// port returns the egress port of row i.
func (d *decoder) port(i int) uint16 { return binary.LittleEndian.Uint16(d.bufs[colPort][2*i:]) }
