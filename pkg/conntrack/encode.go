package conntrack

import (
	"time"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// AppendBinary appends the flow as the attributes of a ctnetlink message, in the order of a
// dump. UnmarshalBinary reads the same flow from them. Tests and benchmarks fill tables
// with it. The error is always nil.
func (f *Flow) AppendBinary(b []byte) ([]byte, error) {
	e := netlink.Encoder(b)
	f.write(&e)
	return e, nil
}

func (f *Flow) write(e *netlink.Encoder) {
	sameZone := f.Original.Zone == f.Reply.Zone
	tupleZone := func(zone uint16) uint16 {
		if sameZone {
			return 0
		}
		return zone
	}
	f.Original.write(e, ctaTupleOrig, tupleZone(f.Original.Zone))
	f.Reply.write(e, ctaTupleReply, tupleZone(f.Reply.Zone))
	if sameZone && f.Original.Zone != 0 {
		e.Uint16(ctaZone, f.Original.Zone)
	}
	e.Uint32(ctaStatus, uint32(f.Status))
	if f.Has(HasMark) {
		e.Uint32(ctaMark, f.Mark)
	}
	if f.Has(HasID) {
		e.Uint32(ctaID, f.ID)
	}
	if f.Master.Valid() {
		f.Master.write(e, ctaTupleMaster, f.Master.Zone)
	}
	if f.Has(HasTimeout) {
		e.Uint32(ctaTimeout, uint32(f.Timeout/time.Second))
	}
	if f.Has(HasState) {
		f.writeState(e)
	}
	if f.Has(HasCounters) {
		f.OriginalCounters.write(e, ctaCountersOrig)
		f.ReplyCounters.write(e, ctaCountersReply)
	}
	if f.Has(HasTimestamps) {
		f.writeTimestamps(e)
	}
	if f.Helper != (Helper{}) {
		f.writeHelper(e)
	}
	if f.Labels != [16]byte{} {
		e.Bytes(ctaLabels, f.Labels[:])
	}
}

func (c Counters) write(e *netlink.Encoder, typ uint16) {
	at := e.BeginNest(typ)
	e.Uint64(ctaCountersPackets, c.Packets)
	e.Uint64(ctaCountersBytes, c.Bytes)
	e.End(at)
}

func (f *Flow) writeTimestamps(e *netlink.Encoder) {
	at := e.BeginNest(ctaTimestamp)
	e.Uint64(ctaTimestampStart, uint64(f.Start))
	if f.Stop != 0 {
		e.Uint64(ctaTimestampStop, uint64(f.Stop))
	}
	e.End(at)
}

func (f *Flow) writeHelper(e *netlink.Encoder) {
	at := e.BeginNest(ctaHelp)
	e.Text(ctaHelpName, f.Helper.String())
	e.End(at)
}
