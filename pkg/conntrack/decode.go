package conntrack

import (
	"bytes"
	"time"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// UnmarshalBinary reads the flow from the attributes of a ctnetlink message, which follow
// its struct nfgenmsg. It skips attributes without a field in Flow. It keeps no reference
// to b, and allocates only to return an ErrMalformed.
func (f *Flow) UnmarshalBinary(b []byte) error {
	_, err := f.unmarshal(b)
	return err
}

// unmarshal also returns the Unix time of an event, in nanoseconds.
func (f *Flow) unmarshal(b []byte) (at int64, err error) {
	*f = Flow{}
	var (
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
			proto = a.Data // read below: its meaning depends on the original tuple
		case ctaCountersOrig:
			ok = f.OriginalCounters.read(a.Data)
			f.Fields |= HasCounters
		case ctaCountersReply:
			ok = f.ReplyCounters.read(a.Data)
			f.Fields |= HasCounters
		case ctaTimestamp:
			ok = f.readTimestamps(a.Data)
		case ctaTimestampEvent:
			ok = readTime(a.Data, &at)
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
		return 0, netlink.Malformed("a flow with an invalid state")
	}
	// CTA_ZONE is the zone of both directions. A zone of one direction is in its tuple
	// (CTA_TUPLE_ZONE).
	if zoned {
		f.Original.Zone, f.Reply.Zone = zone, zone
	}
	return at, nil
}

func readSeconds(b []byte, v *time.Duration) bool {
	var seconds uint32
	ok := read32(b, &seconds)
	*v = time.Duration(seconds) * time.Second
	return ok
}

// readTime reads a Unix time in nanoseconds.
func readTime(b []byte, v *int64) bool {
	var ns uint64
	ok := read64(b, &ns)
	*v = int64(ns)
	return ok
}

func (c *Counters) read(b []byte) bool {
	return readNested(b, func(typ uint16, value []byte) bool {
		switch typ {
		case ctaCountersPackets:
			return read64(value, &c.Packets)
		case ctaCountersBytes:
			return read64(value, &c.Bytes)
		}
		return true
	})
}

func (f *Flow) readTimestamps(b []byte) bool {
	f.Fields |= HasTimestamps
	return readNested(b, func(typ uint16, value []byte) bool {
		switch typ {
		case ctaTimestampStart:
			return readTime(value, &f.Start)
		case ctaTimestampStop:
			return readTime(value, &f.Stop)
		}
		return true
	})
}

func (f *Flow) readHelper(b []byte) bool {
	return readNested(b, func(typ uint16, value []byte) bool {
		return typ != ctaHelpName || f.Helper.read(value)
	})
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
