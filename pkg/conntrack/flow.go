package conntrack

import (
	"bytes"
	"net/netip"
	"time"
)

// Flow is one entry of the kernel's table. It is a value: it refers to nothing
// outside itself, so that a copy of it stays good for ever.
type Flow struct {
	Original Tuple // as the first packet came
	Reply    Tuple // as answers come: from whom it reached, to whom it seemed to come from
	// Master is the original tuple of the control connection that announced this
	// one. Only where Status has Expected.
	Master Tuple

	Status Status
	// ID tells this flow from an earlier or later one with the same tuples.
	ID    uint32
	Mark  uint32
	State State
	// Fields says which of the others the kernel told.
	Fields Fields
	// Timeout is the time that is left, in whole seconds. A flow in a flowtable
	// has none.
	Timeout time.Duration
	// Packets and bytes since the flow began, where net.netfilter.nf_conntrack_acct
	// is 1.
	OriginalCounters, ReplyCounters Counters
	// Start and Stop are Unix times in nanoseconds, where
	// net.netfilter.nf_conntrack_timestamp is 1. Stop is 0 while the flow lasts.
	Start, Stop int64
	Helper      Helper
	// Labels are 128 bits, bit 0 the lowest of the first byte on little-endian
	// machines, and otherwise of the first word of the machine's size.
	Labels [16]byte
}

// Counters are those of one direction of a flow. Bytes are those of IP packets,
// their headers included.
type Counters struct{ Packets, Bytes uint64 }

// Fields is a set of fields of a Flow.
type Fields uint8

// What a kernel may tell of a flow, and may not.
const (
	HasID         Fields = 1 << iota
	HasMark              // not without CONFIG_NF_CONNTRACK_MARK; in events only if not 0
	HasState             // TCP, SCTP, DCCP; not of a flow in a flowtable
	HasTimeout           // not of a flow in a flowtable
	HasCounters          // with nf_conntrack_acct
	HasTimestamps        // with nf_conntrack_timestamp
)

// Has reports whether the kernel told all of these fields.
func (f *Flow) Has(x Fields) bool { return f.Fields&x == x }

// Helper is the name of a conntrack helper: "ftp". It is empty where a flow has
// none. NF_CT_HELPER_NAME_LEN is 16, with the closing NUL.
type Helper [16]byte

// String is the name.
func (h Helper) String() string {
	if i := bytes.IndexByte(h[:], 0); i >= 0 {
		return string(h[:i])
	}
	return string(h[:])
}

// Zone is the conntrack zone of the flow; mostly 0.
func (f *Flow) Zone() uint16 { return max(f.Original.Zone, f.Reply.Zone) }

// Translated reports whether the kernel changes the source of the flow's packets.
// A flow that was confirmed without stays without for its whole life, whatever
// rules come later.
func (f *Flow) Translated() bool { return f.Status&SrcNAT != 0 }

// Egress is the source that the far end sees: the egress address and port where
// the flow is translated, otherwise the sender's own. The port of ICMP is 0.
func (f *Flow) Egress() netip.AddrPort { return netip.AddrPortFrom(f.Reply.Dst, f.Reply.DstPort) }
