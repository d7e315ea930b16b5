package report

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Flow is a flow of the kernel's flow table or of the NAT log.
type Flow struct {
	// Owner is the attachment that began the flow. If the source is no attachment, it is the
	// attachment that the flow reached, or empty.
	Owner
	// Direction is "out" if Owner began the flow, "in" if the flow reached Owner, and empty
	// without Owner.
	Direction string `json:"direction"`
	// Peer is the attachment on this node that an outgoing flow of Owner reached.
	Peer Owner `json:"peer,omitzero"`

	Protocol string `json:"protocol"` // "tcp", "udp", "icmp" ...
	// Original has the addresses of packets in the original direction before translation,
	// Translated after it. They are equal if nothing is translated.
	Original   Tuple  `json:"original"`
	Translated Tuple  `json:"translated"`
	NAT        string `json:"nat"` // "none", "snat", "dnat" or "snat+dnat"
	// State is the state of a TCP, SCTP or DCCP connection. For other protocols, and for
	// flows in a flowtable, it is "unreplied", "replied", "assured" or "offloaded". A flow of
	// the NAT log is "closed", or "open" if the log does not have its end.
	State  string   `json:"state"`
	Status []string `json:"status,omitempty"` // bits of conntrack.Status

	// Begin is null if the kernel has no timestamps. End is null while the flow is open.
	Begin Time `json:"begin"`
	End   Time `json:"end"`
	// Duration is from Begin to End, or until now.
	Duration Seconds `json:"duration,omitzero"`
	Timeout  Seconds `json:"timeout,omitzero"` // remaining time
	// Packets and Bytes are omitted if the kernel does not count packets.
	Packets Sides `json:"packets,omitzero"`
	Bytes   Sides `json:"bytes,omitzero"`

	Helper string `json:"helper,omitempty"`
	// Master is the original tuple of the control connection that announced this flow.
	Master Tuple  `json:"master,omitzero"`
	Mark   uint32 `json:"mark"`
	Zone   uint16 `json:"zone"`
	ID     uint32 `json:"id,omitempty"` // ID of the kernel
}

// Tuple has the addresses and ports of packets of one direction. Ports are 0 for protocols
// without ports.
type Tuple struct {
	Source          netip.Addr `json:"source"`
	SourcePort      uint16     `json:"sourcePort"`
	Destination     netip.Addr `json:"destination"`
	DestinationPort uint16     `json:"destinationPort"`
	// ICMP is set for ICMP and ICMPv6. The ID is translated like a port.
	ICMP ICMP `json:"icmp,omitzero"`
}

// ICMP identifies the queries of a flow. The NAT log does not keep type and code: they are 0,
// which is not the type of a query.
type ICMP struct {
	Type uint8  `json:"type"`
	Code uint8  `json:"code"`
	ID   uint16 `json:"id"`
}

// Sides has a number for each direction of a flow: original and reply.
type Sides struct {
	Original uint64 `json:"original"`
	Reply    uint64 `json:"reply"`
}

// Sum returns the sum of both directions.
func (s Sides) Sum() uint64 { return s.Original + s.Reply }

// Values of Flow.Direction.
const (
	Out = "out"
	In  = "in"
)

// FlowOf converts a flow of the kernel's flow table. from and to are the attachments at its
// ends, or nil.
func FlowOf(f *conntrack.Flow, from, to *Owner, now time.Time) Flow {
	x := Flow{
		Protocol: Protocol(f.Original.Proto),
		Original: tupleOf(&f.Original),
		// The reply tuple reversed: packets of the original direction after translation.
		Translated: Tuple{
			Source: f.Reply.Dst, SourcePort: f.Reply.DstPort,
			Destination: f.Reply.Src, DestinationPort: f.Reply.SrcPort,
		},
		NAT:    NAT(f.Status),
		State:  State(f),
		Helper: f.Helper.String(),
		Mark:   f.Mark,
		Zone:   f.Zone(),
		ID:     f.ID,
	}
	if isICMP(f.Original.Proto) {
		// The reply tuple has the ICMP type of the reply.
		x.Translated.ICMP = ICMP{f.Original.Type, f.Original.Code, f.Reply.ID}
	}
	switch {
	case from != nil:
		x.Owner, x.Direction = *from, Out
		if to != nil {
			x.Peer = *to
		}
	case to != nil:
		x.Owner, x.Direction = *to, In
	}
	if s := f.Status.String(); s != "" {
		x.Status = strings.Split(s, ",")
	}
	if f.Status&conntrack.Expected != 0 {
		x.Master = tupleOf(&f.Master)
	}
	if f.Start != 0 {
		x.Begin = Unix(f.Start)
		if f.Stop != 0 {
			now = time.Unix(0, f.Stop)
			x.End = Unix(f.Stop)
		}
		// The clock may have been set back.
		x.Duration = Seconds(max(0, now.Sub(x.Begin.Time)))
	}
	if f.Has(conntrack.HasTimeout) {
		x.Timeout = Seconds(f.Timeout)
	}
	if f.Has(conntrack.HasCounters) {
		x.Packets = Sides{f.OriginalCounters.Packets, f.ReplyCounters.Packets}
		x.Bytes = Sides{f.OriginalCounters.Bytes, f.ReplyCounters.Bytes}
	}
	return x
}

func tupleOf(t *conntrack.Tuple) Tuple {
	x := Tuple{Source: t.Src, SourcePort: t.SrcPort, Destination: t.Dst, DestinationPort: t.DstPort}
	if isICMP(t.Proto) {
		x.ICMP = ICMP{t.Type, t.Code, t.ID}
	}
	return x
}

func isICMP(proto uint8) bool { return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 }

// NAT returns the translation of a flow: "none", "snat", "dnat" or "snat+dnat".
func NAT(s conntrack.Status) string {
	switch s & (conntrack.SrcNAT | conntrack.DstNAT) {
	case conntrack.SrcNAT:
		return "snat"
	case conntrack.DstNAT:
		return "dnat"
	case conntrack.SrcNAT | conntrack.DstNAT:
		return "snat+dnat"
	}
	return "none"
}

// State returns the state of a flow, see Flow.State. It allocates nothing for known states.
func State(f *conntrack.Flow) string {
	if s := f.StateName(); s != "" {
		return s
	}
	switch {
	case f.Status&(conntrack.Offload|conntrack.HWOffload) != 0:
		return "offloaded"
	case f.Status&conntrack.Assured != 0:
		return "assured"
	case f.Status&conntrack.SeenReply != 0:
		return "replied"
	}
	return "unreplied"
}

// StateNames returns all known values of State.
func StateNames() []string {
	var out []string
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP} {
		f := conntrack.Flow{Original: conntrack.Tuple{Proto: proto}, Fields: conntrack.HasState}
		for ; !strings.HasPrefix(f.StateName(), "state-"); f.State++ {
			add(f.StateName())
		}
	}
	for _, s := range []string{"unreplied", "replied", "assured", "offloaded"} {
		add(s)
	}
	return out
}
