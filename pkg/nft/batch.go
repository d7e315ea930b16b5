package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// op is one message of a transaction.
type op struct {
	typ   int
	flags uint16
	body  attrs
	what  string // for errors: "add chain policy-1234"
	// optional says that the thing may be gone already: the transaction is sent
	// again without this message. (NFT_MSG_DESTROY* would do, from Linux 6.3.)
	optional bool
	// doubtful says that the message removes what a newer attachment may need.
	doubtful bool
	// unexpected says that the message removes something that is not desired.
	unexpected bool
}

// opError is an error of one message of a transaction.
type opError struct {
	op  op
	err error
}

func (e *opError) Error() string { return e.op.what + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// errStale says that somebody else changed the ruleset since it was read.
var errStale = errors.New("the ruleset has changed since it was read")

// commit sends the messages as one transaction. With a generation other than 0 it
// happens only if the ruleset is still of that generation; errStale otherwise.
func (s *socket) commit(ops []op, generation uint32) error {
	for len(ops) > 0 {
		err := s.transact(ops, generation, true)
		var failed *opError
		if !errors.As(err, &failed) || !failed.op.optional || !errors.Is(err, unix.ENOENT) {
			return err
		}
		kept := ops[:0:0]
		for _, o := range ops {
			if !o.optional || o.what != failed.op.what {
				kept = append(kept, o)
			}
		}
		ops = kept
	}
	return nil
}

// check has the kernel validate the messages and then forget them.
func (s *socket) check(ops []op) error { return s.transact(ops, 0, false) }

func (s *socket) transact(ops []op, generation uint32, keep bool) error {
	var bounds attrs
	if generation != 0 {
		bounds.number(unix.NFNL_BATCH_GENID, generation)
	}
	size := 0
	for _, o := range ops {
		size += len(o.body) + unix.NLMSG_HDRLEN + nfgenmsgLen + unix.NLMSG_ALIGNTO
	}
	b, first := s.put(make([]byte, 0, size+256), unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, bounds)
	bySeq := make(map[uint32]op, len(ops))
	var last uint32
	for i, o := range ops {
		flags := o.flags | unix.NLM_F_REQUEST
		if i == len(ops)-1 {
			// One acknowledgement, for the last: an acknowledgement for each takes
			// four times as long.
			flags |= unix.NLM_F_ACK
		}
		b, last = s.put(b, unix.NFNL_SUBSYS_NFTABLES<<8|uint16(o.typ), flags, unix.NFPROTO_INET, 0, o.body)
		bySeq[last] = o
	}
	if keep {
		b, _ = s.put(b, unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	}
	if err := s.send(b); err != nil {
		return err
	}
	var errs []error
	acked := false
	err := s.receive(func(m message) error {
		if m.typ != unix.NLMSG_ERROR || m.seq < first {
			return nil
		}
		err := m.errno()
		acked = acked || m.seq == last
		o, mine := bySeq[m.seq]
		switch {
		case err == nil:
		case errors.Is(err, unix.ERESTART):
			errs = append(errs, errStale)
		case mine:
			errs = append(errs, &opError{o, err})
		default:
			errs = append(errs, fmt.Errorf("nftables transaction: %w", err))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(errs) > 0:
		return errors.Join(errs...)
	case !acked:
		return errors.New("the kernel did not answer to an nftables transaction")
	}
	return nil
}
