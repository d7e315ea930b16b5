package conntrack

import (
	"bytes"
	"time"
)

// UnmarshalBinary reads the flow from the attributes of a ctnetlink message, those
// that follow its struct nfgenmsg. Attributes that Flow has no field for are
// skipped. It keeps nothing of b and allocates nothing, unless it fails, with
// ErrMalformed.
func (f *Flow) UnmarshalBinary(b []byte) error {
	_, err := f.unmarshal(b)
	return err
}

// unmarshal also returns the time of an event.
func (f *Flow) unmarshal(b []byte) (at int64, err error) {
	*f = Flow{}
	var (
		event uint64
		zone  uint16
		zoned bool
		proto []byte
	)
	a := attrs{rest: b}
	for a.next() {
		ok := true
		switch a.typ {
		case ctaTupleOrig:
			ok = f.Original.read(a.data)
		case ctaTupleReply:
			ok = f.Reply.read(a.data)
		case ctaTupleMaster:
			ok = f.Master.read(a.data)
		case ctaZone:
			ok = read16(a.data, &zone)
			zoned = true
		case ctaStatus:
			ok = read32(a.data, (*uint32)(&f.Status))
		case ctaMark:
			ok = read32(a.data, &f.Mark)
			f.Fields |= HasMark
		case ctaID:
			ok = read32(a.data, &f.ID)
			f.Fields |= HasID
		case ctaTimeout:
			ok = readSeconds(a.data, &f.Timeout)
			f.Fields |= HasTimeout
		case ctaProtoinfo:
			proto = a.data // what it means depends on the original tuple
		case ctaCountersOrig:
			ok = f.OriginalCounters.read(a.data)
			f.Fields |= HasCounters
		case ctaCountersReply:
			ok = f.ReplyCounters.read(a.data)
			f.Fields |= HasCounters
		case ctaTimestamp:
			ok = f.readTimestamps(a.data)
		case ctaTimestampEvent:
			ok = read64(a.data, &event)
		case ctaHelp:
			ok = f.readHelper(a.data)
		case ctaLabels:
			ok = f.readLabels(a.data)
		}
		if !ok {
			return 0, malformed(&a)
		}
	}
	if err := a.end(); err != nil {
		return 0, err
	}
	switch {
	case !f.Original.Valid() || !f.Reply.Valid():
		return 0, malformedf("a flow without its tuples")
	case proto != nil && !f.readState(proto):
		return 0, malformedf("a state that is none")
	}
	// A zone is that of both directions, or it is told with the tuple of the one
	// that it is for (CTA_TUPLE_ZONE).
	if zoned {
		f.Original.Zone, f.Reply.Zone = zone, zone
	}
	return int64(event), nil
}

func readSeconds(b []byte, v *time.Duration) bool {
	var seconds uint32
	ok := read32(b, &seconds)
	*v = time.Duration(seconds) * time.Second
	return ok
}

func (c *Counters) read(b []byte) bool {
	a := attrs{rest: b}
	for a.next() {
		ok := true
		switch a.typ {
		case ctaCountersPackets:
			ok = read64(a.data, &c.Packets)
		case ctaCountersBytes:
			ok = read64(a.data, &c.Bytes)
		}
		if !ok {
			return false
		}
	}
	return a.whole()
}

func (f *Flow) readTimestamps(b []byte) bool {
	var start, stop uint64
	a := attrs{rest: b}
	for a.next() {
		ok := true
		switch a.typ {
		case ctaTimestampStart:
			ok = read64(a.data, &start)
		case ctaTimestampStop:
			ok = read64(a.data, &stop)
		}
		if !ok {
			return false
		}
	}
	f.Start, f.Stop = int64(start), int64(stop)
	f.Fields |= HasTimestamps
	return a.whole()
}

func (f *Flow) readHelper(b []byte) bool {
	a := attrs{rest: b}
	for a.next() {
		if a.typ == ctaHelpName && !f.Helper.read(a.data) {
			return false
		}
	}
	return a.whole()
}

func (h *Helper) read(b []byte) bool {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	*h = Helper{}
	return copy(h[:], b) == len(b)
}

func (f *Flow) readLabels(b []byte) bool {
	f.Labels = [16]byte{}
	return copy(f.Labels[:], b) == len(b)
}
