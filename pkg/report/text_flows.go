package report

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// FlowTable writes flows for a person, as they come.
type FlowTable struct {
	t    *table
	wide bool
}

// NewFlowTable begins a table; End ends it.
func NewFlowTable(w io.Writer, s Style) *FlowTable {
	head := []string{"POD", "DIR", "PROTO", "SOURCE", "DESTINATION", "TRANSLATED", "STATE", "BYTES", "AGE"}
	if s.Wide {
		head = append(head, "PACKETS", "TIMEOUT", "HELPER", "MARK", "ZONE", "NETWORK", "CONTAINER", "INTERFACE", "STATUS")
	}
	return &FlowTable{newTable(w, s, head...), s.Wide}
}

// Add writes a flow.
func (t *FlowTable) Add(f Flow) error {
	cells := []string{
		Clean(f.Pod()), f.Direction, f.Protocol, f.Original.from(), f.Original.to(), f.changed(), f.State,
		known(f.Packets, size(f.Bytes.Sum())), "",
	}
	if f.Duration != 0 || !f.End.IsZero() { // of an open flow of the NAT log it is not known
		cells[8] = span(time.Duration(f.Duration))
	}
	if t.wide {
		cells = append(cells, known(f.Packets, strconv.FormatUint(f.Packets.Sum(), 10)), "", Clean(f.Helper),
			fmt.Sprintf("%#x", f.Mark), strconv.Itoa(int(f.Zone)),
			Clean(f.Network), Clean(f.ContainerID), Clean(f.Interface), strings.Join(f.Status, ","))
		if f.Timeout != 0 {
			cells[10] = span(time.Duration(f.Timeout))
		}
	}
	return t.t.row(cells...)
}

// End writes what is left.
func (t *FlowTable) End() error { return t.t.flush() }

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
	if t.ICMP != (ICMP{}) {
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

// changed is what the far end sees of a flow that is translated.
func (f Flow) changed() string {
	var out []string
	if strings.HasPrefix(f.NAT, "snat") {
		out = append(out, "from "+f.Translated.from())
	}
	if strings.HasSuffix(f.NAT, "dnat") {
		out = append(out, "to "+f.Translated.to())
	}
	return strings.Join(out, " ")
}
