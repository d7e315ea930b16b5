package conntrack

import "time"

// AppendBinary appends the flow as the attributes of a ctnetlink message, in the
// order in which a dump has them, and never fails. What UnmarshalBinary reads from
// them is the same flow.
func (f *Flow) AppendBinary(b []byte) ([]byte, error) {
	both := f.Original.Zone == f.Reply.Zone
	one := func(zone uint16) uint16 {
		if both {
			return 0
		}
		return zone
	}
	b = f.Original.write(b, ctaTupleOrig, one(f.Original.Zone))
	b = f.Reply.write(b, ctaTupleReply, one(f.Reply.Zone))
	if both && f.Original.Zone != 0 {
		b = put16(b, ctaZone, f.Original.Zone)
	}
	b = put32(b, ctaStatus, uint32(f.Status))
	if f.Has(HasMark) {
		b = put32(b, ctaMark, f.Mark)
	}
	if f.Has(HasID) {
		b = put32(b, ctaID, f.ID)
	}
	if f.Master.Valid() {
		b = f.Master.write(b, ctaTupleMaster, f.Master.Zone)
	}
	if f.Has(HasTimeout) {
		b = put32(b, ctaTimeout, uint32(f.Timeout/time.Second))
	}
	if f.Has(HasState) {
		b = f.writeState(b)
	}
	if f.Has(HasCounters) {
		b = f.OriginalCounters.write(b, ctaCountersOrig)
		b = f.ReplyCounters.write(b, ctaCountersReply)
	}
	if f.Has(HasTimestamps) {
		b = f.writeTimestamps(b)
	}
	if f.Helper != (Helper{}) {
		b = f.writeHelper(b)
	}
	if f.Labels != [16]byte{} {
		b = put(b, ctaLabels, f.Labels[:]...)
	}
	return b, nil
}

func (c Counters) write(b []byte, typ uint16) []byte {
	b, at := begin(b, typ)
	b = put64(b, ctaCountersPackets, c.Packets)
	b = put64(b, ctaCountersBytes, c.Bytes)
	return end(b, at)
}

func (f *Flow) writeTimestamps(b []byte) []byte {
	b, at := begin(b, ctaTimestamp)
	b = put64(b, ctaTimestampStart, uint64(f.Start))
	if f.Stop != 0 {
		b = put64(b, ctaTimestampStop, uint64(f.Stop))
	}
	return end(b, at)
}

func (f *Flow) writeHelper(b []byte) []byte {
	b, at := begin(b, ctaHelp)
	b = put(b, ctaHelpName, append([]byte(f.Helper.String()), 0)...)
	return end(b, at)
}
