package nft

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// socket sends requests of nf_tables.
type socket struct{ c *netlink.Conn }

func dial() (*socket, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, netlink.DumpBuffer)
	if err != nil {
		return nil, err
	}
	return &socket{c}, nil
}

func (s *socket) close() error { return s.c.Close() }

// nfgenmsgLen is the size of struct nfgenmsg, with which each message begins.
const nfgenmsgLen = 4

// header is the struct nfgenmsg of a request.
func header(family uint8, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}

// numberOf is the type of a netlink message: the subsystem and enum nf_tables_msg_types.
func numberOf(typ int) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | uint16(typ) }

// errInterrupted means that the ruleset changed while it was read.
var errInterrupted = netlink.ErrInterrupted

// get sends one request of nf_tables and calls f with the attributes of each
// answer. A thing that is not there is unix.ENOENT.
func (s *socket) get(typ int, flags uint16, body attrs, f func(b []byte) error) error {
	return s.getOf(unix.NFPROTO_INET, typ, flags, body, func(_ uint8, b []byte) error { return f(b) })
}

// getOf is get for the tables of a family, or of all for NFPROTO_UNSPEC. f is called with
// the family of each answer.
func (s *socket) getOf(family uint8, typ int, flags uint16, body attrs, f func(family uint8, b []byte) error) error {
	take := func(m *netlink.Message) error {
		if len(m.Body) < nfgenmsgLen {
			return netlink.Malformed("an answer of %d bytes", len(m.Body))
		}
		return f(m.Body[0], m.Body[nfgenmsgLen:])
	}
	if flags&unix.NLM_F_DUMP == 0 {
		var b netlink.Batch
		b.Add(numberOf(typ), flags, header(family, 0), body)
		return s.c.Exchange(&b, func(_ int, m *netlink.Message, err error) error {
			if err != nil {
				return err
			}
			return take(m)
		})
	}
	// The dump is read to its end also after an error: ending it would take a new
	// socket, whose address the Watcher does not know.
	var failed error
	for m, err := range s.c.Dump(numberOf(typ), flags, header(family, 0), body) {
		switch {
		case failed != nil:
		case err != nil:
			failed = err
		default:
			failed = take(m)
		}
	}
	return failed
}

// readAttempts bounds how often one thing is read because it changed meanwhile.
const readAttempts = 8

// dump is get for all objects of a type. It calls forget before each attempt, and
// starts again if the ruleset changed meanwhile. Each part is retried separately: while
// other programs keep changing the ruleset, one part can still be read, but not all
// parts together.
func (s *socket) dump(forget func(), typ int, body attrs, f func(b []byte) error) (err error) {
	for range readAttempts {
		forget()
		if err = s.get(typ, unix.NLM_F_DUMP, body, f); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}
