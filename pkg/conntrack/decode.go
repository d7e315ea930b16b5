package conntrack

import (
	"bytes"
	"time"

	"github.com/masq-cni/masq-cni/pkg/netlink"
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
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaTupleOrig:
			ok = f.Original.read(a.Data)
		case ctaTupleReply:
			ok = f.Reply.read(a.Data)
		case ctaTupleMaster:
			ok = f.Master.read(a.Data)
		case ctaZone:
			ok = read16(a.Data, &zone)
			zoned = true
		case ctaStatus:
			ok = read32(a.Data, (*uint32)(&f.Status))
		case ctaMark:
			ok = read32(a.Data, &f.Mark)
			f.Fields |= HasMark
		case ctaID:
			ok = read32(a.Data, &f.ID)
			f.Fields |= HasID
		case ctaTimeout:
			ok = readSeconds(a.Data, &f.Timeout)
			f.Fields |= HasTimeout
		case ctaProtoinfo:
			proto = a.Data // what it means depends on the original tuple
		case ctaCountersOrig:
			ok = f.OriginalCounters.read(a.Data)
			f.Fields |= HasCounters
		case ctaCountersReply:
			ok = f.ReplyCounters.read(a.Data)
			f.Fields |= HasCounters
		case ctaTimestamp:
			ok = f.readTimestamps(a.Data)
		case ctaTimestampEvent:
			ok = read64(a.Data, &event)
		case ctaHelp:
			ok = f.readHelper(a.Data)
		case ctaLabels:
			ok = f.readLabels(a.Data)
		}
		if !ok {
			return 0, a.Malformed()
		}
	}
	if err := a.Err(); err != nil {
		return 0, err
	}
	switch {
	case !f.Original.Valid() || !f.Reply.Valid():
		return 0, netlink.Malformed("a flow without its tuples")
	case proto != nil && !f.readState(proto):
		return 0, netlink.Malformed("a state that is none")
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
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaCountersPackets:
			ok = read64(a.Data, &c.Packets)
		case ctaCountersBytes:
			ok = read64(a.Data, &c.Bytes)
		}
		if !ok {
			return false
		}
	}
	return a.Complete()
}

func (f *Flow) readTimestamps(b []byte) bool {
	var start, stop uint64
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaTimestampStart:
			ok = read64(a.Data, &start)
		case ctaTimestampStop:
			ok = read64(a.Data, &stop)
		}
		if !ok {
			return false
		}
	}
	f.Start, f.Stop = int64(start), int64(stop)
	f.Fields |= HasTimestamps
	return a.Complete()
}

func (f *Flow) readHelper(b []byte) bool {
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		if a.Type == ctaHelpName && !f.Helper.read(a.Data) {
			return false
		}
	}
	return a.Complete()
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
