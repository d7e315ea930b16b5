package conntrack

import (
	"bytes"
	"net/netip"
	"time"
)

// Flow is one entry of the kernel's table. It has no references, so that a copy is
// independent.
type Flow struct {
	Original Tuple // the first packet's
	Reply    Tuple // the replies'; with translation, not the mirror image of Original
	// Master is the original tuple of the control connection that announced this flow. It is
	// set if Status has Expected.
	Master Tuple

	Status Status
	// ID differs between this flow and an earlier or later flow with the same tuples.
	ID    uint32
	Mark  uint32
	State State
	// Fields says which optional fields the kernel sent.
	Fields Fields
	// Timeout is the remaining time, in whole seconds. A flow in a flowtable has none.
	Timeout time.Duration
	// The counters count since the flow began, if net.netfilter.nf_conntrack_acct is 1.
	OriginalCounters, ReplyCounters Counters
	// Start and Stop are Unix times in nanoseconds, if net.netfilter.nf_conntrack_timestamp
	// is 1. Stop is 0 until the flow ends.
	Start, Stop int64
	Helper      Helper
	// Labels are 128 bits. Bit 0 is the lowest bit of the first byte on little-endian
	// machines, and of the first machine word on others.
	Labels [16]byte
}

// Counters count the packets and bytes of one direction of a flow. Bytes include the IP
// headers.
type Counters struct{ Packets, Bytes uint64 }

// Fields is a set of fields of a Flow.
type Fields uint8

// The optional fields of a flow.
const (
	HasID         Fields = 1 << iota
	HasMark              // with CONFIG_NF_CONNTRACK_MARK; in events only if not 0
	HasState             // of TCP, SCTP and DCCP; not of a flow in a flowtable
	HasTimeout           // not of a flow in a flowtable
	HasCounters          // with nf_conntrack_acct
	HasTimestamps        // with nf_conntrack_timestamp
)

// Has reports whether the kernel sent all of these fields.
func (f *Flow) Has(x Fields) bool { return f.Fields&x == x }

// Helper is the name of a conntrack helper, such as "ftp"; empty for a flow without one.
// NF_CT_HELPER_NAME_LEN is 16, with the closing NUL.
type Helper [16]byte

// String returns the name.
func (h Helper) String() string {
	if i := bytes.IndexByte(h[:], 0); i >= 0 {
		return string(h[:i])
	}
	return string(h[:])
}

// Zone returns the conntrack zone of the flow; mostly 0.
func (f *Flow) Zone() uint16 { return max(f.Original.Zone, f.Reply.Zone) }

// Translated reports whether the kernel translates the source of the flow's packets. The
// kernel decides this for the first packet: rules that are added later do not change it.
func (f *Flow) Translated() bool { return f.Status&SrcNAT != 0 }

// Egress returns the source that the destination sees: the egress address and port if the
// flow is translated, otherwise the sender's. The port of ICMP is 0.
func (f *Flow) Egress() netip.AddrPort { return netip.AddrPortFrom(f.Reply.Dst, f.Reply.DstPort) }
