package conntrack

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// State is the state of a connection, as a number of its protocol. Flow.StateName returns
// its name.
type State uint8

// The states of TCP, from uapi/linux/netfilter/nf_conntrack_tcp.h.
const (
	TCPNone State = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	TCPSynSent2
)

// stateNames are the names of conntrack(8), in lower case.
var stateNames = map[uint8][]string{
	unix.IPPROTO_TCP: {
		"none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait",
		"last_ack", "time_wait", "close", "syn_sent2",
	},
	// uapi/linux/netfilter/nf_conntrack_sctp.h
	unix.IPPROTO_SCTP: {
		"none", "closed", "cookie_wait", "cookie_echoed", "established",
		"shutdown_sent", "shutdown_recd", "shutdown_ack_sent", "heartbeat_sent",
	},
	// linux/netfilter/nf_conntrack_dccp.h. Until Linux 6.17, which has no DCCP.
	unix.IPPROTO_DCCP: {
		"none", "request", "respond", "partopen", "open", "closereq", "closing",
		"timewait", "ignore", "invalid",
	},
}

// StateName returns the state of a TCP, SCTP or DCCP flow, such as "established", or "" if
// the kernel sent none.
func (f *Flow) StateName() string {
	if !f.Has(HasState) {
		return ""
	}
	if names := stateNames[f.Original.Proto]; int(f.State) < len(names) {
		return names[f.State]
	}
	return fmt.Sprintf("state-%d", f.State)
}

func protoinfo(proto uint8) uint16 {
	switch proto {
	case unix.IPPROTO_TCP:
		return ctaProtoinfoTCP
	case unix.IPPROTO_SCTP:
		return ctaProtoinfoSCTP
	case unix.IPPROTO_DCCP:
		return ctaProtoinfoDCCP
	}
	return 0
}

// readState reads CTA_PROTOINFO, and skips attributes of other protocols.
func (f *Flow) readState(b []byte) bool {
	own := protoinfo(f.Original.Proto)
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		if own == 0 || a.Type != own {
			continue
		}
		inner := netlink.Attributes{Rest: a.Data}
		for inner.Next() {
			if inner.Type != ctaProtoState {
				continue
			}
			if !read8(inner.Data, (*uint8)(&f.State)) {
				return false
			}
			f.Fields |= HasState
		}
		if !inner.Complete() {
			return false
		}
	}
	return a.Complete()
}

func (f *Flow) writeState(e *netlink.Encoder) {
	at := e.BeginNest(ctaProtoinfo)
	inner := e.BeginNest(protoinfo(f.Original.Proto))
	e.Uint8(ctaProtoState, uint8(f.State))
	e.End(inner)
	e.End(at)
}
