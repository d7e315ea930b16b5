package natlog

import (
	"encoding/binary"
	"net/netip"
)

// Columns of a block, in their order on disk. A query by egress address and port reads the
// first columns only.
const (
	colPort = iota
	colClasses
	colClassLow
	colClassHigh
	colTimeLens
	colTimeBits
	colAgeLens
	colAgeBits
	colSourceLow
	colSourceHigh
	colLocals
	colLocalLow
	colLocalHigh
	colRemotes
	colRemoteAddrs
	colRemotePorts
	colRemoteLow
	colRemoteHigh
	colOwners
	colCounts // lengths and bits of packets and bytes, both directions
	_
	_
	_
	_
	_
	_
	_
	colLostLens
	colLostBits
	columns
)

// class is the kind, protocol and egress address of records.
type class struct {
	egress netip.Addr
	kind   Kind
	proto  uint8
}

// local is an address of a container.
type local struct {
	owner *owner
	addr  netip.Addr
}

// remote is the destination of flows, before and after translation.
type remote struct{ original, translated netip.AddrPort }

// column is the position of a column, relative to the end of the directory.
type column struct {
	off, size, raw uint32 // size is on disk, raw is unpacked
	packed         bool
	sum            uint32
}

// appendColumn appends the directory entry of a column. The entry of an empty column is
// one byte.
func appendColumn(b []byte, c column) []byte {
	if c.raw == 0 {
		return append(b, 0)
	}
	if !c.packed {
		b = binary.AppendUvarint(b, uint64(c.raw)<<1)
	} else {
		b = binary.AppendUvarint(b, uint64(c.raw)<<1|1)
		b = binary.AppendUvarint(b, uint64(c.size))
	}
	return binary.LittleEndian.AppendUint32(b, c.sum)
}

// takeColumns parses the directory of a block whose columns have fill bytes.
func takeColumns(cols *[columns]column, b []byte, fill uint32) error {
	off := uint64(0)
	for i := range cols {
		c := &cols[i]
		*c = column{off: uint32(off)}
		raw, n := binary.Uvarint(b)
		if n <= 0 || raw>>1 > maxColumn {
			return errCorrupt("directory entry %d is invalid", i)
		}
		b = b[n:]
		if raw>>1 == 0 {
			continue
		}
		c.raw, c.size, c.packed = uint32(raw>>1), uint32(raw>>1), raw&1 != 0
		if c.packed {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(fill) {
				return errCorrupt("directory entry %d is invalid", i)
			}
			b = b[n:]
			c.size = uint32(size)
		}
		if len(b) < 4 {
			return errCorrupt("directory entry %d is invalid", i)
		}
		c.sum = binary.LittleEndian.Uint32(b)
		b = b[4:]
		if off += uint64(c.size); off > uint64(fill) {
			return errCorrupt("column %d exceeds the block", i)
		}
	}
	if len(b) != 0 || off != uint64(fill) {
		return errCorrupt("%d bytes after the directory's entries, and %d of %d bytes in columns", len(b), off, fill)
	}
	return nil
}

// appendAddr appends the 4 or 16 bytes of an address. Its length is stored separately.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		x := a.As4()
		return append(b, x[:]...)
	}
	x := a.As16()
	return append(b, x[:]...)
}

func addrLen(a netip.Addr) byte {
	if a.Is4() {
		return 4
	}
	return 16
}

// takeAddr takes an address of n bytes, which is 0, 4 or 16.
func takeAddr(b []byte, n int) (netip.Addr, []byte, error) {
	if len(b) < n || n != 0 && n != 4 && n != 16 {
		return netip.Addr{}, nil, errCorrupt("an address of %d bytes", n)
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a, b[n:], nil
}
