package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of the netfilter family, bound to the network
// namespace in which it was opened. The kernel answers a request before the call
// that sent it returns, and makes the later parts of a dump as the earlier ones are
// read, so nothing is ever waited for.
type socket struct {
	fd   int
	seq  uint32
	buf  []byte
	out  []byte // the request, reused
	busy bool   // with a dump that was not read to its end
}

func dial(size int) (*socket, error) {
	const kind = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, kind, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, buf: make([]byte, size)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), s.close())
	}
	// Errors need not carry the request back.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt NETLINK_CAP_ACK", err), s.close())
	}
	return s, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

const (
	headerLen   = unix.NLMSG_HDRLEN
	nfgenmsgLen = 4
)

// open begins a message of ctnetlink with the next sequence number: its header and
// struct nfgenmsg. The caller appends attributes and closes it with seal.
func (s *socket) open(b []byte, typ, flags uint16, family uint8) []byte {
	s.seq++
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = append(b, 0, 0, 0, 0)
	return append(b, family, unix.NFNETLINK_V0, 0, 0)
}

// seal sets the length of the message that begins at at. Attributes keep it aligned.
func seal(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// send and receive use write and read: they allocate no addresses.
func (s *socket) send(b []byte) error {
	_, err := unix.Write(s.fd, b)
	return os.NewSyscallError("write", err)
}

// receive returns the messages that are waiting, or none. They are good until the
// next call. A part of a dump is never longer than 32 KiB less the kernel's own
// struct skb_shared_info (netlink_dump and netlink_recvmsg in
// net/netlink/af_netlink.c), and parts are as long as the largest buffer that was
// offered: a smaller one costs calls, a larger one has no use.
func (s *socket) receive() ([]byte, error) {
	for {
		n, err := unix.Read(s.fd, s.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil, nil
		case errors.Is(err, unix.ENOBUFS):
			return nil, fmt.Errorf("%w: %w", ErrOverrun, err)
		case err != nil:
			return nil, os.NewSyscallError("read", err)
		}
		return s.buf[:n], nil
	}
}

// message is one netlink message as received. Its parts are in the buffer.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	body  []byte // what follows the nlmsghdr
}

// cut takes the first message off b.
func (m *message) cut(b []byte) (rest []byte, err error) {
	if len(b) < headerLen {
		return nil, malformedf("%d bytes left over", len(b))
	}
	n := binary.NativeEndian.Uint32(b)
	if n < headerLen || uint64(n) > uint64(len(b)) {
		return nil, malformedf("%d bytes of %d", len(b), n)
	}
	m.typ = binary.NativeEndian.Uint16(b[4:])
	m.flags = binary.NativeEndian.Uint16(b[6:])
	m.seq = binary.NativeEndian.Uint32(b[8:])
	m.body = b[headerLen:n]
	return b[min(len(b), align(int(n))):], nil
}

// errno is the error in an NLMSG_ERROR or NLMSG_DONE message; nil is an
// acknowledgement.
func (m *message) errno() error {
	if len(m.body) < 4 {
		return malformedf("an error of %d bytes", len(m.body))
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// attributes are those of a message of ctnetlink.
func (m *message) attributes() []byte { return m.body[min(len(m.body), nfgenmsgLen):] }

// resource is the resource ID of a message of ctnetlink.
func (m *message) resource() uint16 {
	if len(m.body) < nfgenmsgLen {
		return 0
	}
	return binary.BigEndian.Uint16(m.body[2:])
}
