package ipfix

import (
	"time"

	"github.com/vmware/go-ipfix/pkg/entities"
)

const (
	version = 10
	domain  = 1
)

// beginMessage makes room for the header.
func beginMessage(b []byte) []byte { return append(b, make([]byte, entities.MsgHeaderLength)...) }

// endMessage writes the header. The sequence number is the number of the message's first
// data record. Templates are not counted (RFC 7011, 3.1).
func endMessage(b []byte, sequence uint32, now time.Time) {
	m := entities.NewMessage(false)
	m.SetVersion(version)
	m.SetMessageLen(uint16(len(b)))
	m.SetExportTime(uint32(now.Unix()))
	m.SetSequenceNum(sequence)
	m.SetObsDomainID(domain)
	copy(b, m.GetMsgHeader())
}

// fill appends records of a chunk as sets, up to limit bytes. It returns the rest of the
// chunk and the number of appended records.
func fill(b, chunk []byte, limit int) (_, rest []byte, records uint32) {
	set, at := uint16(0), 0
	for len(chunk) > 0 {
		id, record, rest := next(chunk)
		need := len(record)
		if id != set {
			need += entities.SetHeaderLen
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
