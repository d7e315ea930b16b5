package nft

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// op is one message of a transaction.
type op struct {
	typ int
	// family is the family of the table, or 0 for inet.
	family uint8
	flags  uint16
	body   netlink.Encoder
	what   string // for errors: "add chain policy-1234"
	// optional says that the object may be missing: then the transaction is sent again
	// without this message. (From Linux 6.3, NFT_MSG_DESTROY* could replace this.)
	optional bool
	// doubtful says that the message may be wrong if attachments have been added or
	// removed since the ruleset was planned.
	doubtful bool
	// unexpected says that the message removes an unexpected object.
	unexpected bool
}

// opError is the error of one message of a transaction.
type opError struct {
	op    op
	index int // index of the message in the transaction
	err   error
}

func (e *opError) Error() string { return e.op.what + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// opErrors splits an error of transact into the errors of single messages and the rest.
func opErrors(err error) (failed []*opError, other error) {
	all := []error{err}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if e, ok := errors.AsType[*opError](err); ok {
			failed = append(failed, e)
		} else if err != nil {
			other = err
		}
	}
	return failed, other
}

// errStale means that another program changed the ruleset since it was read.
var errStale = errors.New("the ruleset has changed since it was read")

// commit sends the messages as one transaction. With a generation other than 0, the kernel
// refuses the transaction if the ruleset is of another generation: errStale.
func (c *Conn) commit(ops []op, generation uint32) error {
	for len(ops) > 0 {
		err := c.transact(ops, generation, true)
		failed, _ := opErrors(err)
		missing := map[int]bool{} // optional messages about objects that do not exist
		for _, e := range failed {
			if e.op.optional && errors.Is(e.err, unix.ENOENT) {
				missing[e.index] = true
			}
		}
		if len(missing) == 0 {
			return err
		}
		kept := make([]op, 0, len(ops))
		for i, o := range ops {
			if !missing[i] {
				kept = append(kept, o)
			}
		}
		ops = kept
	}
	return nil
}

// check has the kernel validate the messages without applying them.
func (c *Conn) check(ops []op) error { return c.transact(ops, 0, false) }

func (c *Conn) transact(ops []op, generation uint32, keep bool) error {
	var bounds netlink.Encoder
	if generation != 0 {
		bounds.Uint32(unix.NFNL_BATCH_GENID, generation)
	}
	size := 256
	for _, o := range ops {
		size += len(o.body) + unix.NLMSG_HDRLEN + nfgenmsgLen + unix.NLMSG_ALIGNTO
	}
	var b netlink.Batch
	b.Grow(size)
	b.Add(unix.NFNL_MSG_BATCH_BEGIN, 0, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES), bounds)
	for _, o := range ops {
		b.Add(messageType(o.typ), o.flags, header(cmp.Or(o.family, unix.NFPROTO_INET), 0), o.body)
	}
	b.Acknowledge()
	if keep {
		b.Add(unix.NFNL_MSG_BATCH_END, 0, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	}
	var errs []error
	err := c.nl.Exchange(&b, func(i int, _ *netlink.Message, err error) error {
		switch {
		case err == nil:
		case errors.Is(err, unix.ERESTART):
			errs = append(errs, errStale)
		case 1 <= i && i <= len(ops):
			errs = append(errs, &opError{ops[i-1], i - 1, err})
		default:
			errs = append(errs, fmt.Errorf("nftables transaction: %w", err))
		}
		return nil
	})
	// The kernel acknowledges no transaction that it refuses as a whole.
	if len(errs) > 0 && (err == nil || errors.Is(err, netlink.ErrNoAnswer)) {
		return c.explainOwner(errors.Join(errs...))
	}
	return err
}
