package ipfix

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Tuple is the source and the destination of a flow's first packet. The port of an
// ICMP message's source is its identifier.
type Tuple struct {
	Src, Dst netip.AddrPort
}

// Event is the begin or the end of a translated flow.
type Event struct {
	Time  time.Time // sent in milliseconds
	End   bool
	Proto uint8 // of IP: 6 is TCP
	// ICMP is type<<8 | code of what began the flow; 0 of other protocols.
	ICMP uint16
	// Key and Pod are those of the attachment. Empty, where another plugin wired the
	// pod.
	Key masq.Key
	Pod masq.Pod
	// Original is the packet as the container sent it.
	Original Tuple
	// Translated is the same packet behind the translation: its source is the egress
	// address and port.
	Translated Tuple
	// Packets and Bytes are those of the original direction and of the reply's. Only
	// of an end.
	Packets, Bytes [2]uint64
	// Duration is how long the flow lived, 0 where nobody knows. Only of an end.
	Duration time.Duration
}

var errAddress = errors.New("an address is missing; give both tuples whole")

func (e *Event) addresses() [4]netip.Addr {
	return [...]netip.Addr{e.Original.Src.Addr(), e.Translated.Src.Addr(), e.Original.Dst.Addr(), e.Translated.Dst.Addr()}
}

// template is the number of the one that an event is sent by.
func (e *Event) template() (uint16, error) {
	four := true
	for _, a := range e.addresses() {
		if !a.IsValid() {
			return 0, fmt.Errorf("flow of %v to %v: %w", e.Original, e.Translated, errAddress)
		}
		four = four && a.Is4()
	}
	switch {
	case four && !e.End:
		return begin4.id, nil
	case four:
		return end4.id, nil
	case !e.End:
		return begin6.id, nil
	default:
		return end6.id, nil
	}
}
