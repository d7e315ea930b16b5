package conntrack

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// State is how far a connection is, in the numbers of its protocol. Flow.StateName
// has the words.
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

// As conntrack(8) has them, in small letters.
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

// StateName is the state of a TCP, SCTP or DCCP flow in a word: "established".
// It is empty where the kernel told no state.
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

// readState takes CTA_PROTOINFO; only what belongs to the protocol counts.
func (f *Flow) readState(b []byte) bool {
	own := protoinfo(f.Original.Proto)
	a := attrs{rest: b}
	for a.next() {
		if own == 0 || a.typ != own {
			continue
		}
		inner := attrs{rest: a.data}
		for inner.next() {
			if inner.typ != ctaProtoState {
				continue
			}
			if !read8(inner.data, (*uint8)(&f.State)) {
				return false
			}
			f.Fields |= HasState
		}
		if !inner.whole() {
			return false
		}
	}
	return a.whole()
}

func (f *Flow) writeState(b []byte) []byte {
	b, at := begin(b, ctaProtoinfo)
	b, inner := begin(b, protoinfo(f.Original.Proto))
	b = put(b, ctaProtoState, uint8(f.State))
	return end(end(b, inner), at)
}
