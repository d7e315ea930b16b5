package natlog

import (
	"encoding/binary"
	"math/bits"
)

// numbers encodes numbers as two columns: the length of each number in bits, which
// compresses well, and the bits below the highest bit, which do not compress.
type numbers struct {
	lens []byte
	bits []byte
	acc  uint64
	n    uint // number of bits in acc
}

func (c *numbers) reset() { *c = numbers{lens: c.lens[:0], bits: c.bits[:0]} }

func (c *numbers) put(v uint64) {
	n := uint(bits.Len64(v))
	c.lens = append(c.lens, byte(n))
	if n < 2 {
		return
	}
	n--
	v &= 1<<n - 1
	c.acc |= v << c.n
	if c.n+n < 64 {
		c.n += n
		return
	}
	c.bits = binary.LittleEndian.AppendUint64(c.bits, c.acc)
	c.acc = v >> (64 - c.n)
	c.n = c.n + n - 64
}

// flush pads the bits to a whole byte.
func (c *numbers) flush() {
	for n := int(c.n); n > 0; n -= 8 {
		c.bits = append(c.bits, byte(c.acc))
		c.acc >>= 8
	}
	c.acc, c.n = 0, 0
}

// pad is the number of readable bytes after the bits of numbers, so that takeNumbers can
// load 16 bytes at any position.
const pad = 16

// takeNumbers appends the numbers of two columns. The capacity of packed includes pad
// more bytes.
func takeNumbers(out []uint64, lens, packed []byte) ([]uint64, error) {
	total := 0
	for _, n := range lens {
		if n > 64 {
			return nil, errCorrupt("a number of %d bits", n)
		}
		total += max(int(n)-1, 0)
	}
	if (total+7)/8 != len(packed) {
		return nil, errCorrupt("numbers have %d bytes, want %d", len(packed), (total+7)/8)
	}
	padded := packed[:len(packed)+pad]
	pos := uint(0)
	for _, n := range lens {
		if n < 2 {
			out = append(out, uint64(n))
			continue
		}
		n := uint(n - 1)
		at, off := pos>>3, pos&7
		v := binary.LittleEndian.Uint64(padded[at:]) >> off
		if off+n > 64 {
			v |= uint64(padded[at+8]) << (64 - off)
		}
		out = append(out, v&(1<<n-1)|1<<n)
		pos += n
	}
	return out, nil
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// references encodes references to a dictionary whose entries are in the order of their
// first use. A reference is 0 for the next unused entry, otherwise the entry's index plus 1.
// Low bytes and high bytes are separate columns.
type references struct{ low, high []byte }

func (c *references) reset() { c.low, c.high = c.low[:0], c.high[:0] }

func (c *references) put(code uint32) {
	c.low = append(c.low, byte(code))
	c.high = append(c.high, byte(code>>8))
}

// takeReferences appends the index of each reference, and returns the number of entries in
// use. An empty high column means zeros.
func takeReferences(out []uint16, low, high []byte) ([]uint16, int, error) {
	if len(high) != 0 && len(high) != len(low) {
		return nil, 0, errCorrupt("references have %d high bytes and %d low bytes", len(high), len(low))
	}
	used := 0
	for i, l := range low {
		code := int(l)
		if len(high) != 0 {
			code |= int(high[i]) << 8
		}
		switch {
		case code == 0:
			out = append(out, uint16(used))
			used++
		case code > used:
			return nil, 0, errCorrupt("reference to entry %d of %d", code-1, used)
		default:
			out = append(out, uint16(code-1))
		}
	}
	return out, used, nil
}
