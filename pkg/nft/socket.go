package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of the netfilter family, bound to the network
// namespace in which it was opened.
type socket struct {
	fd  int
	seq uint32
	buf []byte
}

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, buf: make([]byte, 64<<10)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), s.close())
	}
	// Error messages need not carry the request back, which may be megabytes.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt NETLINK_CAP_ACK", err), s.close())
	}
	return s, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// message is one netlink message: as sent, or as received.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	port  uint32 // the address of the socket that it is from or for
	body  []byte // what follows the nlmsghdr
}

// put appends a message with the next sequence number, which it returns: a struct
// nlmsghdr, a struct nfgenmsg, attributes.
func (s *socket) put(b []byte, typ, flags uint16, family uint8, resource uint16, body attrs) ([]byte, uint32) {
	s.seq++
	n := unix.NLMSG_HDRLEN + nfgenmsgLen + len(body)
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0, byte(resource>>8), byte(resource))
	b = append(b, body...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b, s.seq
}

func (s *socket) send(b []byte) error {
	// The kernel copies a request into one buffer that has to fit the socket's.
	// SO_SNDBUFFORCE needs CAP_NET_ADMIN, as everything else here does.
	if len(b) > 100<<10 {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)); err != nil {
			return os.NewSyscallError("setsockopt SO_SNDBUFFORCE", err)
		}
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive calls f with each message that is waiting. The kernel answers a request
// before the call that sent it returns, so nothing has to be waited for, but for
// the later parts of a dump, which are made as the earlier ones are read.
func (s *socket) receive(f func(message) error) error {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		case n > len(s.buf):
			return fmt.Errorf("netlink message of %d bytes does not fit a buffer of %d", n, len(s.buf))
		}
		if err := split(s.buf[:n], f); err != nil {
			return err
		}
	}
}

func split(b []byte, f func(message) error) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return fmt.Errorf("truncated netlink message: %d bytes of %d", n, len(b))
		}
		m := message{
			typ:   binary.NativeEndian.Uint16(b[4:]),
			flags: binary.NativeEndian.Uint16(b[6:]),
			seq:   binary.NativeEndian.Uint32(b[8:]),
			port:  binary.NativeEndian.Uint32(b[12:]),
			body:  b[unix.NLMSG_HDRLEN:n],
		}
		if err := f(m); err != nil {
			return err
		}
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}

// errno is the error in an NLMSG_ERROR message; nil is an acknowledgement.
func (m message) errno() error {
	if len(m.body) < 4 {
		return errTruncated
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// errInterrupted says that the ruleset changed during a dump.
var errInterrupted = errors.New("the ruleset changed while it was read")

// get sends one request of nf_tables and calls f with the attributes of each
// answer. A thing that is not there is unix.ENOENT.
func (s *socket) get(typ int, flags uint16, body attrs, f func(b []byte) error) error {
	return s.getOf(unix.NFPROTO_INET, typ, flags, body, func(_ uint8, b []byte) error { return f(b) })
}

// getOf is get for the tables of a family, or of all for NFPROTO_UNSPEC. f is called with
// the family of each answer.
func (s *socket) getOf(family uint8, typ int, flags uint16, body attrs, f func(family uint8, b []byte) error) error {
	req, seq := s.put(nil, unix.NFNL_SUBSYS_NFTABLES<<8|uint16(typ), unix.NLM_F_REQUEST|flags, family, 0, body)
	if err := s.send(req); err != nil {
		return err
	}
	interrupted := false
	err := s.receive(func(m message) error {
		switch {
		case m.seq != seq:
			return nil
		case m.flags&unix.NLM_F_DUMP_INTR != 0:
			interrupted = true
		}
		switch m.typ {
		case unix.NLMSG_ERROR:
			return m.errno()
		case unix.NLMSG_DONE:
			return nil
		}
		if len(m.body) < nfgenmsgLen {
			return errTruncated
		}
		return f(m.body[0], m.body[nfgenmsgLen:])
	})
	if err == nil && interrupted {
		err = errInterrupted
	}
	return err
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

const nfgenmsgLen = 4
