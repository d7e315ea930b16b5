package conntrack

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Expectation is a connection that another connection announced and that a helper expects:
// the data connection of FTP, the media of a call. It is a value, as Flow is.
type Expectation struct {
	// Tuple is the original tuple of the expected connection. The source is compared
	// with the bits of Mask only; the destination is always known.
	Tuple, Mask Tuple
	// Master is the original tuple of the control connection.
	Master Tuple
	Helper Helper
	ID     uint32
	// Timeout is the remaining time, in whole seconds.
	Timeout time.Duration
	Flags   ExpectationFlags
	Class   uint32 // defined by the helper
	// NAT is the address and port to which the connection will be translated. The address is
	// 0.0.0.0 or :: if it follows from the control connection.
	NAT netip.AddrPort
}

// ExpectationFlags are the flags of uapi/linux/netfilter/nf_conntrack_common.h.
type ExpectationFlags uint32

// The flags of an Expectation.
const (
	ExpectPermanent ExpectationFlags = 1 << iota // it stays for more than one connection
	ExpectInactive                               // no connection matches it yet
	ExpectUserspace                              // made by a program
)

// Expectations reads all expectations, as Dump reads flows.
func (c *Conn) Expectations(ctx context.Context) iter.Seq2[*Expectation, error] {
	return func(yield func(*Expectation, error) bool) {
		var e Expectation
		err := c.dump(ctx, msgExpectGet, query{}, func(m *netlink.Message) (bool, error) {
			if err := e.UnmarshalBinary(attributes(m)); err != nil {
				return false, err
			}
			return yield(&e, nil), nil
		})
		if err != nil {
			yield(nil, explain(err))
		}
	}
}

// UnmarshalBinary reads the expectation from the attributes of a message, as
// Flow.UnmarshalBinary reads a flow.
func (e *Expectation) UnmarshalBinary(b []byte) error {
	*e = Expectation{}
	a := netlink.Attributes{Rest: b}
	for a.Next() {
		ok := true
		switch a.Type {
		case ctaExpectTuple:
			ok = e.Tuple.read(a.Data)
		case ctaExpectMask:
			ok = e.Mask.read(a.Data)
		case ctaExpectMaster:
			ok = e.Master.read(a.Data)
		case ctaExpectHelpName:
			ok = e.Helper.read(a.Data)
		case ctaExpectID:
			ok = read32(a.Data, &e.ID)
		case ctaExpectFlags:
			ok = read32(a.Data, (*uint32)(&e.Flags))
		case ctaExpectClass:
			ok = read32(a.Data, &e.Class)
		case ctaExpectTimeout:
			ok = readSeconds(a.Data, &e.Timeout)
		case ctaExpectNAT:
			ok = e.readNAT(a.Data)
		}
		if !ok {
			return a.Malformed()
		}
	}
	if err := a.Err(); err != nil {
		return err
	}
	if !e.Tuple.Valid() || !e.Mask.Valid() || !e.Master.Valid() {
		return netlink.Malformed("an expectation without its tuples")
	}
	return nil
}

func (e *Expectation) readNAT(b []byte) bool {
	return readNested(b, func(typ uint16, value []byte) bool {
		if typ != ctaExpectNATTuple {
			return true
		}
		var t Tuple
		ok := t.read(value)
		e.NAT = netip.AddrPortFrom(t.Src, t.SrcPort)
		return ok
	})
}
