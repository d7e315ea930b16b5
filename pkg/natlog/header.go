package natlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Constants of the file format, see the package documentation.
const (
	version   = 1
	fileMagic = "masqnat\n"
	fileHead  = 16

	blockMagic  = "MQNL"
	endMagic    = "MQNLend\n"
	blockHead   = 64
	kindRecords = 1
	kindIndex   = 2

	trailer = 16
)

// Flags of a block of records.
const (
	flagSamePort     = 1 << iota // source ports are stored as differences to egress ports
	flagGaps                     // the block has gaps
	flagBeginUnknown             // the begin of some ended flows is unknown
)

// Limits on the memory that a malicious file can make a reader allocate.
const (
	maxRecords   = 1<<16 - 1
	maxDirectory = 8 << 10
	maxColumn    = 8 << 20
	maxBlock     = 32 << 20
	maxIndex     = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFileHead(b []byte) []byte {
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// checkFileHead checks the header of a file. It returns io.ErrUnexpectedEOF if the file
// ends within the header.
func checkFileHead(r io.ReaderAt) error {
	var b [fileHead]byte
	if err := readAt(r, b[:], 0); err != nil {
		return err
	}
	if string(b[:8]) != fileMagic {
		return errCorrupt("the file begins with %q; remove it if it is not a log", b[:8])
	}
	switch v := binary.LittleEndian.Uint32(b[8:]); {
	case v > version:
		return newerError(v)
	case v == 0:
		return errCorrupt("the version is 0")
	}
	return nil
}

// header is the header of a block. The header of an index describes all blocks before it.
type header struct {
	kind, flags byte
	total       uint32 // bytes of the block, including the header
	directory   uint32 // bytes of the directory
	count       uint32 // records, or blocks in an index
	seq         uint64 // number of the first record; in an index, of the next record
	// In milliseconds since 1970: first and last time of the records, and the earliest
	// begin of their flows and gaps.
	first, last, began int64
}

func (h *header) append(b []byte) []byte {
	b = append(b, blockMagic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, h.kind, h.flags)
	b = binary.LittleEndian.AppendUint32(b, h.total)
	b = binary.LittleEndian.AppendUint32(b, h.directory)
	b = binary.LittleEndian.AppendUint32(b, h.count)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, h.seq)
	for _, t := range [...]int64{h.first, h.last, h.began} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// putChecksum writes the checksum of header and directory into the header of a block.
func putChecksum(block []byte, directory uint32) {
	c := crc32.Checksum(block[:blockHead-4], castagnoli)
	c = crc32.Update(c, castagnoli, block[blockHead:blockHead+directory])
	binary.LittleEndian.PutUint32(block[blockHead-4:], c)
}

func (h *header) parse(b []byte) error {
	if string(b[:4]) != blockMagic {
		return errCorrupt("no block begins here")
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v > version {
		return newerError(uint32(v))
	}
	*h = header{
		kind: b[6], flags: b[7],
		total:     binary.LittleEndian.Uint32(b[8:]),
		directory: binary.LittleEndian.Uint32(b[12:]),
		count:     binary.LittleEndian.Uint32(b[16:]),
		seq:       binary.LittleEndian.Uint64(b[24:]),
		first:     int64(binary.LittleEndian.Uint64(b[32:])),
		last:      int64(binary.LittleEndian.Uint64(b[40:])),
		began:     int64(binary.LittleEndian.Uint64(b[48:])),
	}
	maxDir, records := uint32(maxDirectory), uint32(maxRecords)
	switch h.kind {
	case kindRecords:
	case kindIndex:
		maxDir, records = maxIndex, maxIndex/indexEntry
	default:
		return errCorrupt("the block has the unknown kind %d", h.kind)
	}
	if h.directory > maxDir || h.count > records || h.total > maxBlock || h.total < blockHead+h.directory {
		return errCorrupt("sizes are out of range: %d records, %d bytes, a directory of %d bytes", h.count, h.total, h.directory)
	}
	return nil
}

// readHead reads the header and the directory of the block at an offset. It returns
// io.ErrUnexpectedEOF if the file ends before the block: the block is incomplete, or is
// being written.
func (h *header) readHead(r io.ReaderAt, off, size int64, buf []byte) (directory []byte, err error) {
	if size-off < blockHead {
		return nil, io.ErrUnexpectedEOF
	}
	var head [blockHead]byte
	if err := readAt(r, head[:], off); err != nil {
		return nil, err
	}
	if err := h.parse(head[:]); err != nil {
		return nil, err
	}
	if size-off < int64(h.total) {
		return nil, io.ErrUnexpectedEOF
	}
	buf = grow(buf, int(h.directory))
	if err := readAt(r, buf, off+blockHead); err != nil {
		return nil, err
	}
	c := crc32.Update(crc32.Checksum(head[:blockHead-4], castagnoli), castagnoli, buf)
	if c != binary.LittleEndian.Uint32(head[blockHead-4:]) {
		return nil, errCorrupt("the header has a wrong checksum")
	}
	return buf, nil
}

// readAt reads len(b) bytes. It returns io.ErrUnexpectedEOF if the file has fewer.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// grow returns a buffer of n bytes and capacity for pad more. It reuses b if possible.
func grow(b []byte, n int) []byte {
	if cap(b) < n+pad {
		b = make([]byte, n+pad, (n+pad)*5/4)
	}
	return b[:n]
}
