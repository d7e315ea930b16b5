package conntrack

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// ErrExists means that the table has a flow with the original or the reply tuple of the
// flow to be created.
var ErrExists = errors.New("a flow with this tuple exists")

// Entry is a translated flow that a program creates before its first packet.
type Entry struct {
	Proto    uint8          // unix.IPPROTO_UDP or IPPROTO_TCP
	Src, Dst netip.AddrPort // the original tuple
	NAT      netip.AddrPort // the source that the destination sees
	// Timeout is how long the flow waits for its first packet: whole seconds, rounded up.
	// The first packet replaces it by the timeout of its protocol: for UDP
	// net.netfilter.nf_conntrack_udp_timeout, and from the second reply on
	// nf_conntrack_udp_timeout_stream (nf_conntrack_udp_packet).
	Timeout time.Duration
}

// Original returns the original tuple.
func (e Entry) Original() Tuple { return tupleOf(e.Proto, e.Src, e.Dst) }

// Reply returns the tuple of replies.
func (e Entry) Reply() Tuple { return tupleOf(e.Proto, e.Dst, e.NAT) }

func tupleOf(proto uint8, src, dst netip.AddrPort) Tuple {
	return Tuple{Proto: proto, Src: src.Addr(), Dst: dst.Addr(), SrcPort: src.Port(), DstPort: dst.Port()}
}

// Create creates a flow in the default zone. Either end may send the first packet. If the
// destination sends it, the packet is a reply, so that `ct state established` matches it. If
// the source sends it, the packet is new for chains of type filter; it does not pass chains
// of type nat. The error is ErrExists if either tuple is in use, also by the flow that an
// earlier packet from the destination to NAT made with the node itself.
//
// Requires a chain of type nat in the namespace: without one the kernel does not translate.
func (c *Conn) Create(e Entry) error {
	if err := e.validate(); err != nil {
		return fmt.Errorf("conntrack: create %s: %w", e.Original(), err)
	}
	original, before := e.Original(), tupleOf(e.Proto, e.Dst, e.Src)
	c.body = append(c.body[:0], header(original.family())...)
	original.write(&c.body, ctaTupleOrig, 0)
	// The reply tuple is the one without translation. The kernel replaces it when it
	// translates the source (ctnetlink_setup_nat, nf_nat_setup_info).
	before.write(&c.body, ctaTupleReply, 0)
	writeNAT(&c.body, e.NAT)
	c.body.Uint32(ctaTimeout, seconds(e.Timeout))
	if e.Proto == unix.IPPROTO_TCP {
		// In this state both ends may send a SYN: a SYN in reply direction is a simultaneous
		// open (tcp_conntracks in nf_conntrack_proto_tcp.c). Without a state it is invalid.
		f := Flow{Original: original, State: TCPSynSent}
		f.writeState(&c.body)
	}
	if err := c.change(unix.NLM_F_CREATE | unix.NLM_F_EXCL); err != nil {
		return fmt.Errorf("create %s as %s: %w", original, e.NAT, explain(err))
	}
	return nil
}

// SetTimeout sets the remaining time of the flow that has this tuple as its original or
// reply tuple. The next packet sets it again. The error is ErrNotFound if the table does not
// have the flow.
func (c *Conn) SetTimeout(t Tuple, d time.Duration) error {
	if !t.Valid() || d <= 0 {
		return fmt.Errorf("conntrack: set the timeout of %s to %s: invalid", t, d)
	}
	c.body = append(c.body[:0], header(t.family())...)
	t.key(&c.body)
	c.body.Uint32(ctaTimeout, seconds(d))
	if err := c.change(0); err != nil {
		return fmt.Errorf("set the timeout of %s: %w", t, explain(err))
	}
	return nil
}

// change sends the request in body.
func (c *Conn) change(flags uint16) error {
	var b netlink.Batch
	b.Add(msgNew, flags, c.body)
	err := c.requests.Exchange(&b, func(_ int, _ *netlink.Message, err error) error { return err })
	switch {
	case errors.Is(err, unix.EEXIST):
		return ErrExists
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ETIME): // ETIME: it is being deleted
		return ErrNotFound
	}
	return err
}

func (e Entry) validate() error {
	for _, a := range []netip.AddrPort{e.Src, e.Dst, e.NAT} {
		switch addr := a.Addr(); {
		case !a.IsValid() || a.Port() == 0 || addr.IsUnspecified() || addr.Zone() != "" || addr.Is4In6():
			return fmt.Errorf("%s is not an address and port of a flow", a)
		case addr.Is4() != e.Src.Addr().Is4():
			return fmt.Errorf("%s is of the other family", a)
		}
	}
	if e.Proto != unix.IPPROTO_UDP && e.Proto != unix.IPPROTO_TCP {
		return fmt.Errorf("protocol %s is not supported", protoName(e.Proto))
	}
	if e.Timeout <= 0 {
		return fmt.Errorf("timeout %s is not positive", e.Timeout)
	}
	return nil
}

// seconds rounds a positive duration up.
func seconds(d time.Duration) uint32 {
	return uint32(min((d-1)/time.Second+1, math.MaxInt32))
}

// writeNAT appends the translation of the source.
func writeNAT(e *netlink.Encoder, to netip.AddrPort) {
	at := e.BeginNest(ctaNATSrc)
	first, last := uint16(ctaNATv4First), uint16(ctaNATv4Last)
	if to.Addr().Is6() {
		first, last = ctaNATv6First, ctaNATv6Last
	}
	e.Bytes(first, to.Addr().AsSlice())
	e.Bytes(last, to.Addr().AsSlice())
	if to.Port() != 0 {
		proto := e.BeginNest(ctaNATProto)
		e.Uint16(ctaNATPortFirst, to.Port())
		e.Uint16(ctaNATPortLast, to.Port())
		e.End(proto)
	}
	e.End(at)
}
