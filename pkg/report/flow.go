package report

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Flow is one flow as programs are told of it, whether it is in the kernel's table
// or in the NAT log.
type Flow struct {
	// Owner is the attachment that began the flow, or else the one that it reached.
	// All its fields are empty where neither end is an attachment's.
	Owner
	// Direction is "out" where the owner began the flow, "in" where it was reached,
	// empty where there is no owner.
	Direction string `json:"direction"`
	// Peer is the attachment that an owner's flow reached on the same node.
	Peer Owner `json:"peer,omitzero"`

	Protocol string `json:"protocol"` // "tcp", "udp", "icmp" ...
	// Original is what the packets of the one who began look like before any
	// translation, Translated after it: to the far end. Where nothing is
	// translated they are equal.
	Original   Tuple  `json:"original"`
	Translated Tuple  `json:"translated"`
	NAT        string `json:"nat"` // "none", "snat", "dnat" or "snat+dnat"
	// State is that of TCP, SCTP or DCCP in a word; of others, and of flows in a
	// flowtable, how far they came: "unreplied", "replied", "assured", "offloaded".
	// A flow of the NAT log is "closed", or "open" where the log has no end of it.
	State  string   `json:"state"`
	Status []string `json:"status,omitempty"` // bits of conntrack.Status

	// Begin is null where the kernel keeps no times, End while the flow lasts.
	Begin Time `json:"begin"`
	End   Time `json:"end"`
	// Duration is from Begin to End, or until now.
	Duration Seconds `json:"duration,omitzero"`
	Timeout  Seconds `json:"timeout,omitzero"` // what is left
	// Packets and Bytes are left out where the kernel does not count.
	Packets Sides `json:"packets,omitzero"`
	Bytes   Sides `json:"bytes,omitzero"`

	Helper string `json:"helper,omitempty"`
	// Master is the original tuple of the control connection that announced this
	// one.
	Master Tuple  `json:"master,omitzero"`
	Mark   uint32 `json:"mark"`
	Zone   uint16 `json:"zone"`
	ID     uint32 `json:"id,omitempty"` // the kernel's
}

// Tuple is what the packets of one direction look like. Ports are 0 for protocols
// that have none.
type Tuple struct {
	Source          netip.Addr `json:"source"`
	SourcePort      uint16     `json:"sourcePort"`
	Destination     netip.Addr `json:"destination"`
	DestinationPort uint16     `json:"destinationPort"`
	// ICMP is there for ICMP and ICMPv6. Their IDs are translated as ports are.
	ICMP ICMP `json:"icmp,omitzero"`
}

// ICMP is what a query of ICMP has instead of ports. The NAT log does not keep type and
// code: they are 0, which no query has.
type ICMP struct {
	Type uint8  `json:"type"`
	Code uint8  `json:"code"`
	ID   uint16 `json:"id"`
}

// Sides are those of one who began a flow, and of the one who answers.
type Sides struct {
	Original uint64 `json:"original"`
	Reply    uint64 `json:"reply"`
}

// Sum is that of both sides.
func (s Sides) Sum() uint64 { return s.Original + s.Reply }

// Directions of a Flow.
const (
	Out = "out"
	In  = "in"
)

// FlowOf describes a flow of the kernel's table at a time, with the attachments at
// its ends, which may be nil.
func FlowOf(f *conntrack.Flow, from, to *Owner, now time.Time) Flow {
	x := Flow{
		Protocol: Protocol(f.Original.Proto),
		Original: tupleOf(&f.Original),
		// What leaves is the answers' mirror image.
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
		// The kernel has the type of the answer there.
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
		// Clocks are set, also back.
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

// NAT says what of a flow is translated: "none", "snat", "dnat" or "snat+dnat".
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

// State is how far a flow came, in a word; see Flow.State. It allocates nothing for
// the states that are known.
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

// StateNames are the words that State gives.
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
