package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// FlowColumns returns the columns of a table of flows. The columns that are not wide
// fit 80 characters, with short names and addresses.
func FlowColumns() []Column[Flow] {
	type row = Flow
	out := append(endpointColumns(),
		translatedColumn(),
		numberColumn("BYTES", func(f *row) uint64 { return f.Bytes.Sum() }, func(f *row) string { return ifCounted(f.Packets, size(f.Bytes.Sum())) }),
	)
	return append(out, asWide(append([]Column[row]{
		wordColumn("DIR", func(f *row) string { return f.Direction }),
		wordColumn("STATE", func(f *row) string { return f.State }),
	}, detailColumns()...)...)...)
}

// PastFlowColumns returns the columns of a table of flows of the NAT log. Times are in the
// given zone.
func PastFlowColumns(zone *time.Location) []Column[Flow] {
	type row = Flow
	at := func(t Time, format string) string {
		if t.IsZero() {
			return ""
		}
		return t.In(zone).Format(format)
	}
	const day, clock = "Jan 02 ", "15:04:05"
	out := append(endpointColumns(),
		Column[row]{Name: "BEGIN", Cell: func(f *row) string { return at(f.Begin, day+clock) }, Compare: func(a, b *row) int { return a.Begin.Compare(b.Begin.Time) }},
		Column[row]{Name: "END", Cell: func(f *row) string {
			switch {
			case f.End.IsZero():
				return f.State // the log does not have its end
			case !f.Begin.IsZero() && at(f.Begin, day) == at(f.End, day):
				return at(f.End, clock)
			}
			return at(f.End, day+clock)
		}, Compare: func(a, b *row) int { return a.End.Compare(b.End.Time) }},
	)
	return append(out, asWide(append([]Column[row]{
		translatedColumn(),
		wordColumn("DIR", func(f *row) string { return f.Direction }),
		wordColumn("STATE", func(f *row) string { return f.State }),
		numberColumn("BYTES", func(f *row) uint64 { return f.Bytes.Sum() }, func(f *row) string { return ifCounted(f.Packets, size(f.Bytes.Sum())) }),
	}, detailColumns()...)...)...)
}

// endpointColumns returns the columns for the pod, the protocol, the source and the
// destination.
func endpointColumns() []Column[Flow] {
	type row = Flow
	return []Column[row]{
		wordColumn("POD", func(f *row) string { return f.Pod() }),
		wordColumn("PROTO", func(f *row) string { return f.Protocol }),
		{Name: "SOURCE", Cell: func(f *row) string { return f.Original.source() }, Compare: func(a, b *row) int { return a.Original.compareSource(b.Original) }},
		{Name: "DESTINATION", Cell: func(f *row) string { return f.Original.destination() }, Compare: func(a, b *row) int { return a.Original.compareDestination(b.Original) }},
	}
}

func translatedColumn() Column[Flow] {
	return Column[Flow]{Name: "TRANSLATED", Cell: func(f *Flow) string { return f.translation() }, Compare: func(a, b *Flow) int {
		x, y := a.NAT != "none", b.NAT != "none"
		switch {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return cmp.Or(a.Translated.compareSource(b.Translated), a.Translated.compareDestination(b.Translated))
	}}
}

// detailColumns returns the other columns, which are wide.
func detailColumns() []Column[Flow] {
	type row = Flow
	return []Column[row]{
		numberColumn("AGE", func(f *row) Seconds { return f.Duration }, func(f *row) string {
			if f.Duration == 0 && f.End.IsZero() { // unknown for an open flow of the NAT log
				return ""
			}
			return span(time.Duration(f.Duration))
		}),
		numberColumn("PACKETS", func(f *row) uint64 { return f.Packets.Sum() }, func(f *row) string { return ifCounted(f.Packets, strconv.FormatUint(f.Packets.Sum(), 10)) }),
		{Name: "TIMEOUT", Cell: func(f *row) string { return f.left() }, Compare: func(a, b *row) int { return cmp.Compare(a.Timeout, b.Timeout) }},
		wordColumn("HELPER", func(f *row) string { return f.Helper }),
		numberColumn("MARK", func(f *row) uint32 { return f.Mark }, func(f *row) string { return fmt.Sprintf("%#x", f.Mark) }),
		numberColumn("ZONE", func(f *row) uint16 { return f.Zone }, func(f *row) string { return strconv.Itoa(int(f.Zone)) }),
		wordColumn("NETWORK", func(f *row) string { return f.Network }),
		wordColumn("CONTAINER", func(f *row) string { return f.ContainerID }),
		wordColumn("INTERFACE", func(f *row) string { return f.Interface }),
		wordColumn("STATUS", func(f *row) string { return strings.Join(f.Status, ",") }),
	}
}

// CompareFlows orders flows that have equal values in the column by which they are sorted:
// by source, destination, protocol and ID.
func CompareFlows(a, b *Flow) int {
	return cmp.Or(a.Original.compareSource(b.Original), a.Original.compareDestination(b.Original),
		strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.ID, b.ID))
}

// compareSource orders tuples by source address, port and ICMP ID.
func (t Tuple) compareSource(u Tuple) int {
	return cmp.Or(t.Source.Compare(u.Source), cmp.Compare(t.SourcePort, u.SourcePort), cmp.Compare(t.ICMP.ID, u.ICMP.ID))
}

// compareDestination orders tuples by destination address and port.
func (t Tuple) compareDestination(u Tuple) int {
	return cmp.Or(t.Destination.Compare(u.Destination), cmp.Compare(t.DestinationPort, u.DestinationPort))
}

// left returns the time after which a flow without packets ends.
func (f *Flow) left() string {
	if f.Timeout == 0 {
		return ""
	}
	return span(time.Duration(f.Timeout))
}

// ifCounted returns text if the kernel counts packets: every flow has at least one packet.
func ifCounted(packets Sides, text string) string {
	if packets == (Sides{}) {
		return ""
	}
	return text
}

// source returns address and port, or address and ICMP ID.
func (t Tuple) source() string {
	if t.ICMP != (ICMP{}) {
		return fmt.Sprintf("%s id %d", t.Source, t.ICMP.ID)
	}
	return endpoint(t.Source, t.SourcePort)
}

// destination returns address and port, or address and ICMP type.
func (t Tuple) destination() string {
	if t.ICMP.Type != 0 {
		return fmt.Sprintf("%s type %d", t.Destination, t.ICMP.Type)
	}
	return endpoint(t.Destination, t.DestinationPort)
}

// endpoint omits port 0, and writes "any" for the zero address.
func endpoint(a netip.Addr, port uint16) string {
	switch {
	case !a.IsValid() && port == 0:
		return "any"
	case !a.IsValid():
		return "any:" + strconv.Itoa(int(port))
	case port == 0:
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// translation returns the translated source, and "to" with the translated destination.
func (f Flow) translation() string {
	var out []string
	if strings.HasPrefix(f.NAT, "snat") {
		out = append(out, f.Translated.source())
	}
	if strings.HasSuffix(f.NAT, "dnat") {
		out = append(out, "to "+f.Translated.destination())
	}
	return strings.Join(out, " ")
}
