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
	out := append(whose(),
		translatedColumn(),
		numbers("BYTES", func(f *row) uint64 { return f.Bytes.Sum() }, func(f *row) string { return known(f.Packets, size(f.Bytes.Sum())) }),
	)
	return append(out, wide(append([]Column[row]{
		words("DIR", func(f *row) string { return f.Direction }),
		words("STATE", func(f *row) string { return f.State }),
	}, more()...)...)...)
}

// PastFlowColumns returns the columns of a table of flows of the NAT log. Times are in
// a zone.
func PastFlowColumns(zone *time.Location) []Column[Flow] {
	type row = Flow
	at := func(t Time, format string) string {
		if t.IsZero() {
			return ""
		}
		return t.In(zone).Format(format)
	}
	const day, clock = "Jan 02 ", "15:04:05"
	out := append(whose(),
		Column[row]{Name: "BEGIN", Cell: func(f *row) string { return at(f.Begin, day+clock) }, Compare: func(a, b *row) int { return a.Begin.Compare(b.Begin.Time) }},
		Column[row]{Name: "END", Cell: func(f *row) string {
			switch {
			case f.End.IsZero():
				return f.State // the log has no end of it
			case !f.Begin.IsZero() && at(f.Begin, day) == at(f.End, day):
				return at(f.End, clock)
			}
			return at(f.End, day+clock)
		}, Compare: func(a, b *row) int { return a.End.Compare(b.End.Time) }},
	)
	return append(out, wide(append([]Column[row]{
		translatedColumn(),
		words("DIR", func(f *row) string { return f.Direction }),
		words("STATE", func(f *row) string { return f.State }),
		numbers("BYTES", func(f *row) uint64 { return f.Bytes.Sum() }, func(f *row) string { return known(f.Packets, size(f.Bytes.Sum())) }),
	}, more()...)...)...)
}

// whose are the columns that say whose a flow is, and where it goes.
func whose() []Column[Flow] {
	type row = Flow
	return []Column[row]{
		words("POD", func(f *row) string { return f.Pod() }),
		words("PROTO", func(f *row) string { return f.Protocol }),
		{Name: "SOURCE", Cell: func(f *row) string { return f.Original.from() }, Compare: func(a, b *row) int { return a.Original.compareSource(b.Original) }},
		{Name: "DESTINATION", Cell: func(f *row) string { return f.Original.to() }, Compare: func(a, b *row) int { return a.Original.compareDestination(b.Original) }},
	}
}

func translatedColumn() Column[Flow] {
	return Column[Flow]{Name: "TRANSLATED", Cell: func(f *Flow) string { return f.changed() }, Compare: func(a, b *Flow) int {
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

// more are the rest, which are wide.
func more() []Column[Flow] {
	type row = Flow
	return []Column[row]{
		numbers("AGE", func(f *row) Seconds { return f.Duration }, func(f *row) string {
			if f.Duration == 0 && f.End.IsZero() { // of an open flow of the NAT log it is not known
				return ""
			}
			return span(time.Duration(f.Duration))
		}),
		numbers("PACKETS", func(f *row) uint64 { return f.Packets.Sum() }, func(f *row) string { return known(f.Packets, strconv.FormatUint(f.Packets.Sum(), 10)) }),
		{Name: "TIMEOUT", Cell: func(f *row) string { return f.left() }, Compare: func(a, b *row) int { return cmp.Compare(a.Timeout, b.Timeout) }},
		words("HELPER", func(f *row) string { return f.Helper }),
		numbers("MARK", func(f *row) uint32 { return f.Mark }, func(f *row) string { return fmt.Sprintf("%#x", f.Mark) }),
		numbers("ZONE", func(f *row) uint16 { return f.Zone }, func(f *row) string { return strconv.Itoa(int(f.Zone)) }),
		words("NETWORK", func(f *row) string { return f.Network }),
		words("CONTAINER", func(f *row) string { return f.ContainerID }),
		words("INTERFACE", func(f *row) string { return f.Interface }),
		words("STATUS", func(f *row) string { return strings.Join(f.Status, ",") }),
	}
}

// CompareFlows is the order of flows that are alike in a column.
func CompareFlows(a, b *Flow) int {
	return cmp.Or(a.Original.compareSource(b.Original), a.Original.compareDestination(b.Original),
		strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.ID, b.ID))
}

// compareSource is the order of tuples by where they come from; ICMP has an ID instead
// of a port.
func (t Tuple) compareSource(u Tuple) int {
	return cmp.Or(t.Source.Compare(u.Source), cmp.Compare(t.SourcePort, u.SourcePort), cmp.Compare(t.ICMP.ID, u.ICMP.ID))
}

// compareDestination is their order by where they go to.
func (t Tuple) compareDestination(u Tuple) int {
	return cmp.Or(t.Destination.Compare(u.Destination), cmp.Compare(t.DestinationPort, u.DestinationPort))
}

// left is the time that a flow has left if no packet comes.
func (f *Flow) left() string {
	if f.Timeout == 0 {
		return ""
	}
	return span(time.Duration(f.Timeout))
}

// known is a text where the kernel counted: a flow has one packet at least.
func known(packets Sides, text string) string {
	if packets == (Sides{}) {
		return ""
	}
	return text
}

// from is a tuple's source for a person; ICMP has an ID instead of a port.
func (t Tuple) from() string {
	if t.ICMP != (ICMP{}) {
		return fmt.Sprintf("%s id %d", t.Source, t.ICMP.ID)
	}
	return endpoint(t.Source, t.SourcePort)
}

func (t Tuple) to() string {
	if t.ICMP.Type != 0 {
		return fmt.Sprintf("%s type %d", t.Destination, t.ICMP.Type)
	}
	return endpoint(t.Destination, t.DestinationPort)
}

// endpoint leaves out a port that is 0, and an address that may be any.
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

// changed is what the far end sees of a flow that is translated: another source, or
// "to" another destination.
func (f Flow) changed() string {
	var out []string
	if strings.HasPrefix(f.NAT, "snat") {
		out = append(out, f.Translated.from())
	}
	if strings.HasSuffix(f.NAT, "dnat") {
		out = append(out, "to "+f.Translated.to())
	}
	return strings.Join(out, " ")
}
