package natlog

import (
	"encoding/binary"
	"io"
)

// indexEntry is the number of bytes of a block's entry in an index.
const indexEntry = 48

// locatedBlock is a block and its offset in its file.
type locatedBlock struct {
	off int64
	header
}

// appendIndex appends the index, which lists all blocks of a file, and the trailer.
func appendIndex(b []byte, off int64, all []locatedBlock, next uint64, closed int64) []byte {
	h := header{
		kind: kindIndex, count: uint32(len(all)), seq: next, began: closed,
		directory: uint32(len(all) * indexEntry), total: uint32(blockHead + len(all)*indexEntry),
	}
	for i, p := range all {
		if i == 0 {
			h.first, h.last = p.first, p.last
		}
		h.first, h.last = min(h.first, p.first), max(h.last, p.last)
	}
	at := len(b)
	b = h.append(b)
	for _, p := range all {
		b = binary.LittleEndian.AppendUint64(b, uint64(p.off))
		b = binary.LittleEndian.AppendUint32(b, p.total)
		b = binary.LittleEndian.AppendUint32(b, p.count|uint32(p.flags)<<24)
		b = binary.LittleEndian.AppendUint64(b, p.seq)
		for _, t := range [...]int64{p.first, p.last, p.began} {
			b = binary.LittleEndian.AppendUint64(b, uint64(t))
		}
	}
	putChecksum(b[at:], h.directory)
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	return append(b, endMagic...)
}

// contents is the list of blocks of a file.
type contents struct {
	blocks []locatedBlock
	next   uint64 // number of the record after the last
	end    int64  // end of the last complete block, or of the file's header
	sealed bool   // the file has an index and is complete
	closed int64  // when it was sealed; milliseconds since 1970
}

// read lists the blocks of a file. If the file has no index, it reads the headers of all
// blocks up to the first incomplete or damaged block. The error is the fault of that block;
// the blocks before it are valid.
func (c *contents) read(r io.ReaderAt, size int64) error {
	*c = contents{}
	if err := checkFileHead(r); err != nil {
		return err
	}
	c.end = fileHead
	if c.readIndex(r, size) {
		return nil
	}
	*c = contents{end: fileHead}
	var h header
	var buf []byte
	for c.end < size {
		var err error
		if buf, err = h.readHead(r, c.end, size, buf); err != nil {
			return err
		}
		if h.kind == kindRecords {
			c.add(locatedBlock{c.end, h})
		}
		c.end += int64(h.total)
	}
	return nil
}

func (c *contents) add(p locatedBlock) {
	c.blocks = append(c.blocks, p)
	c.next = max(c.next, p.seq+uint64(p.count))
}

// readIndex lists the blocks by the index. It returns false if there is no valid index.
func (c *contents) readIndex(r io.ReaderAt, size int64) bool {
	var b [trailer]byte
	if size < fileHead+trailer || readAt(r, b[:], size-trailer) != nil || string(b[8:]) != endMagic {
		return false
	}
	off := int64(binary.LittleEndian.Uint64(b[:]))
	if off < fileHead || off > size-trailer {
		return false
	}
	var h header
	list, err := h.readHead(r, off, size-trailer, nil)
	if err != nil || h.kind != kindIndex || int(h.directory) != int(h.count)*indexEntry {
		return false
	}
	at := int64(fileHead)
	for ; len(list) != 0; list = list[indexEntry:] {
		p := locatedBlock{off: int64(binary.LittleEndian.Uint64(list)), header: header{
			kind:  kindRecords,
			total: binary.LittleEndian.Uint32(list[8:]),
			count: binary.LittleEndian.Uint32(list[12:]) & (1<<24 - 1),
			flags: list[15],
			seq:   binary.LittleEndian.Uint64(list[16:]),
			first: int64(binary.LittleEndian.Uint64(list[24:])),
			last:  int64(binary.LittleEndian.Uint64(list[32:])),
			began: int64(binary.LittleEndian.Uint64(list[40:])),
		}}
		if p.off != at || int64(p.total) > off-at || p.count > maxRecords {
			return false
		}
		at += int64(p.total)
		c.add(p)
	}
	c.next, c.end, c.sealed, c.closed = h.seq, off, true, h.began
	return true
}
