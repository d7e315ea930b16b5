package conntrack

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Expectation is a connection that a helper heard announced in another: the data
// connection of FTP, the media of a call. It is a value, as Flow is.
type Expectation struct {
	// Tuple is what the first packet will look like, as far as the bits of Mask are
	// set: of its source, as its destination is always known.
	Tuple, Mask Tuple
	// Master is the original tuple of the control connection.
	Master Tuple
	Helper Helper
	ID     uint32
	// Timeout is the time that is left, in whole seconds.
	Timeout time.Duration
	Flags   ExpectationFlags
	Class   uint32 // a number of the helper's
	// NAT is where the helper will have the connection translated to. The address
	// is 0.0.0.0 or :: where it follows from the control connection.
	NAT netip.AddrPort
}

// ExpectationFlags are those of uapi/linux/netfilter/nf_conntrack_common.h.
type ExpectationFlags uint32

// The flags of an Expectation.
const (
	ExpectPermanent ExpectationFlags = 1 << iota // more than one connection may come
	ExpectInactive                               // not yet
	ExpectUserspace                              // made by a program
)

// Expectations reads all that are open, as Dump reads flows.
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
