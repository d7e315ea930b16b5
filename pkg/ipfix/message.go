package ipfix

import (
	"encoding/binary"
	"time"
)

const (
	version     = 10
	headerBytes = 16
	setBytes    = 4 // header of a set
	domain      = 1
)

// beginMessage appends the header. The sequence number is that of the message's first
// data record; templates have none (RFC 7011, 3.1).
func beginMessage(b []byte, sequence uint32) []byte {
	b = put16(put16(b, version), 0)
	return put32(put32(put32(b, 0), sequence), domain)
}

func endMessage(b []byte, now time.Time) {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(now.Unix()))
}

// fill appends records of a chunk as sets, as many as there is room for, and returns
// what is left of the chunk.
func fill(b, chunk []byte, limit int) (_, rest []byte, records uint32) {
	set, at := uint16(0), 0
	for len(chunk) > 0 {
		id, record, rest := next(chunk)
		need := len(record)
		if id != set {
			need += setBytes
		}
		if len(b)+need > limit {
			break
		}
		if id != set {
			if set != 0 {
				endSet(b, at)
			}
			b, at = beginSet(b, id)
			set = id
		}
		b = append(b, record...)
		chunk = rest
		records++
	}
	if set != 0 {
		endSet(b, at)
	}
	return b, chunk, records
}
