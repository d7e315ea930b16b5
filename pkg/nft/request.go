package nft

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// nfgenmsgLen is the size of struct nfgenmsg, with which each message begins.
const nfgenmsgLen = 4

// header returns the struct nfgenmsg of a request.
func header(family uint8, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}

// messageType returns the type of a netlink message: the subsystem, and a number of enum
// nf_tables_msg_types.
func messageType(typ int) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | uint16(typ) }

// errInterrupted means that the ruleset changed while it was read.
var errInterrupted = netlink.ErrInterrupted

// attributes returns the family and the attributes of an answer.
func attributes(m *netlink.Message) (family uint8, b []byte, err error) {
	if len(m.Body) < nfgenmsgLen {
		return 0, nil, netlink.Malformed("an answer of %d bytes", len(m.Body))
	}
	return m.Body[0], m.Body[nfgenmsgLen:], nil
}

// get requests one object and returns its attributes, which are valid until the next
// request. If the object does not exist, the error is unix.ENOENT.
func (c *Conn) get(typ int, body netlink.Encoder) ([]byte, error) {
	m, err := c.nl.Get(messageType(typ), 0, header(unix.NFPROTO_INET, 0), body)
	if err != nil {
		return nil, err
	}
	_, b, err := attributes(m)
	return b, err
}

// list calls f with the family and the attributes of each object of a type. family can be
// unix.NFPROTO_UNSPEC, for all families.
func (c *Conn) list(family uint8, typ int, body netlink.Encoder, f func(family uint8, b []byte) error) error {
	// The dump is read to its end also after an error: ending it early would take a new
	// socket, whose port ID the Watcher does not know.
	var failed error
	for m, err := range c.nl.Dump(messageType(typ), 0, header(family, 0), body) {
		switch {
		case failed != nil:
		case err != nil:
			failed = err
		default:
			family, b, err := attributes(m)
			if err == nil {
				err = f(family, b)
			}
			failed = err
		}
	}
	return failed
}

// readAttempts bounds how often one list is read because the ruleset changes meanwhile.
const readAttempts = 8

// dump calls f with the attributes of each object of a type, in tables of the family inet.
// It calls reset before each attempt, and starts again if the ruleset changes meanwhile.
// Each list is retried separately: while other programs keep changing the ruleset, one
// list can still be read, but not all lists together.
func (c *Conn) dump(reset func(), typ int, body netlink.Encoder, f func(b []byte) error) (err error) {
	for range readAttempts {
		reset()
		err = c.list(unix.NFPROTO_INET, typ, body, func(_ uint8, b []byte) error { return f(b) })
		if !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}
