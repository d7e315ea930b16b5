package natlog

import (
	"encoding/binary"
	"net/netip"
)

// The columns of a block, in their order on disk: what a search by egress address
// and port reads comes first.
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
	colCounts // lens and bits of packets and bytes, both directions
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

// class is what flows share that leave by one address.
type class struct {
	egress netip.Addr
	kind   Kind
	proto  uint8
}

// local is a container's address.
type local struct {
	owner *owner
	addr  netip.Addr
}

// remote is where flows go to, before and behind the translation.
type remote struct{ original, translated netip.AddrPort }

// column is where one lies, counted from the end of the directory.
type column struct {
	off, size, raw uint32
	packed         bool
	sum            uint32
}

// appendColumn writes an entry of the directory. An empty column is one byte.
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

// takeColumns reads the directory of a block whose columns fill the given bytes.
func takeColumns(cols *[columns]column, b []byte, fill uint32) error {
	off := uint64(0)
	for i := range cols {
		c := &cols[i]
		*c = column{off: uint32(off)}
		raw, n := binary.Uvarint(b)
		if n <= 0 || raw>>1 > maxColumn {
			return errCorrupt("column %d in the directory", i)
		}
		b = b[n:]
		if raw>>1 == 0 {
			continue
		}
		c.raw, c.size, c.packed = uint32(raw>>1), uint32(raw>>1), raw&1 != 0
		if c.packed {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(fill) {
				return errCorrupt("column %d in the directory", i)
			}
			b = b[n:]
			c.size = uint32(size)
		}
		if len(b) < 4 {
			return errCorrupt("column %d in the directory", i)
		}
		c.sum = binary.LittleEndian.Uint32(b)
		b = b[4:]
		if off += uint64(c.size); off > uint64(fill) {
			return errCorrupt("column %d is beyond the block", i)
		}
	}
	if len(b) != 0 || off != uint64(fill) {
		return errCorrupt("%d bytes behind the directory, %d of %d in columns", len(b), off, fill)
	}
	return nil
}

// An address is 4 or 16 bytes; its length stands elsewhere.
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

// takeAddr takes n bytes, of 0, 4 and 16.
func takeAddr(b []byte, n int) (netip.Addr, []byte, error) {
	if len(b) < n || n != 0 && n != 4 && n != 16 {
		return netip.Addr{}, nil, errCorrupt("an address of %d bytes", n)
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a, b[n:], nil
}
