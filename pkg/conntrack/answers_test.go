package conntrack

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// answering is a Conn whose kernel is a list of datagrams that were written before
// anything was asked.
func answering(t *testing.T, datagrams ...[]byte) *Conn {
	t.Helper()
	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	for _, d := range datagrams {
		must(unix.Write(pair[1], d))(t)
	}
	s := &socket{fd: pair[0], buf: make([]byte, dumpBuffer)}
	return &Conn{dumps: s, asks: s}
}

func datagram(messages ...[]byte) []byte {
	var all []byte
	for _, m := range messages {
		all = append(all, m...)
	}
	return all
}

// answer is a message to the first request of a connection.
func answer(typ, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerLen+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 1)
	return append(append(b, 0, 0, 0, 0), body...)
}

func answerFlow(flags uint16) []byte {
	e := mixture()[0]
	b, _ := e.AppendBinary([]byte{unix.AF_INET, 0, 0, 0})
	return answer(msgNew, flags, b)
}

func answerCode(typ uint16, code unix.Errno) []byte {
	return answer(typ, 0, binary.NativeEndian.AppendUint32(nil, -uint32(code)))
}

var done = answerCode(unix.NLMSG_DONE, 0)

func TestAnswersOfADump(t *testing.T) {
	flow := answerFlow(0)
	stale := answerFlow(0)
	stale[8] = 77
	for _, tt := range []struct {
		name  string
		parts [][]byte
		flows int
		err   error
	}{
		{"empty", [][]byte{done}, 0, nil},
		{"one", [][]byte{flow, done}, 1, nil},
		{"together", [][]byte{datagram(flow, flow, done)}, 2, nil},
		{"of an earlier dump", [][]byte{datagram(stale, flow), stale, done}, 1, nil},
		{"interrupted", [][]byte{flow, answerFlow(unix.NLM_F_DUMP_INTR), flow, done}, 3, ErrInterrupted},
		{"interrupted at its end", [][]byte{flow, answer(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, make([]byte, 4))}, 1, ErrInterrupted},
		{"without a right", [][]byte{answerCode(unix.NLMSG_ERROR, unix.EPERM)}, 0, unix.EPERM},
		{"failed at its end", [][]byte{flow, answerCode(unix.NLMSG_DONE, unix.ENOMEM)}, 1, unix.ENOMEM},
		{"no end", [][]byte{flow}, 1, errEarly},
		{"an end without a code", [][]byte{flow, answer(unix.NLMSG_DONE, 0, nil)}, 1, ErrMalformed},
		{"an error without a code", [][]byte{answer(unix.NLMSG_ERROR, 0, []byte{1})}, 0, ErrMalformed},
		{"cut", [][]byte{flow[:len(flow)-4], done}, 0, ErrMalformed},
		{"cut in its header", [][]byte{datagram(flow, flow[:7])}, 1, ErrMalformed},
		{"of no length", [][]byte{datagram(flow, make([]byte, 16))}, 1, ErrMalformed},
		{"without attributes", [][]byte{answer(msgNew, 0, nil), done}, 0, ErrMalformed},
		{"with half a flow", [][]byte{answer(msgNew, 0, flow[headerLen:headerLen+60]), done}, 0, ErrMalformed},
	} {
		n := 0
		var failed error
		for f, err := range answering(t, tt.parts...).Dump(t.Context(), Filter{}) {
			switch {
			case failed != nil:
				t.Errorf("%s: goes on after %v", tt.name, failed)
			case err != nil && f != nil:
				t.Errorf("%s: a flow with %v", tt.name, err)
			case err != nil:
				failed = err
			default:
				n++
			}
		}
		if n != tt.flows || !errors.Is(failed, tt.err) {
			t.Errorf("%s: %d flows, %v", tt.name, n, failed)
		}
	}
}

func TestAnswersOfALookup(t *testing.T) {
	flow := answerFlow(0)
	stale := answerFlow(0)
	stale[8] = 77
	for _, tt := range []struct {
		name string
		part []byte
		err  error
	}{
		{"found", flow, nil},
		{"found after a late one", datagram(stale, flow), nil},
		{"not found", answerCode(unix.NLMSG_ERROR, unix.ENOENT), ErrNotFound},
		{"without a right", answerCode(unix.NLMSG_ERROR, unix.EPERM), unix.EPERM},
		{"nothing", stale, errNoAnswer},
		{"cut", flow[:len(flow)-1], ErrMalformed},
	} {
		_, err := answering(t, tt.part).Get(mixture()[0].Original)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A flow that cannot be deleted is an error, and does not keep others.
func TestRefusedDeletion(t *testing.T) {
	flow := answerFlow(0)
	refused, gone := answerCode(unix.NLMSG_ERROR, unix.EBUSY), answerCode(unix.NLMSG_ERROR, unix.ENOENT)
	refused[8], gone[8] = 2, 3
	c := answering(t, datagram(flow, flow, flow, flow, done))
	asks := answering(t, refused, gone)
	asks.asks.seq = 1
	c.asks = asks.asks
	n, err := c.DeleteMatching(t.Context(), Filter{}, func(*Flow) bool { return true })
	if n != 2 || !errors.Is(err, unix.EBUSY) {
		t.Errorf("deleted %d: %v", n, err)
	}
}

// Who cannot look is told why.
func TestWithoutTheRight(t *testing.T) {
	for code, want := range map[unix.Errno]string{
		unix.EPERM:           "conntrack: operation not permitted: CAP_NET_ADMIN is needed",
		unix.EINVAL:          "conntrack: invalid argument: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)",
		unix.EPROTONOSUPPORT: "conntrack: protocol not supported: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)",
		unix.ENOMEM:          "conntrack: cannot allocate memory",
	} {
		for _, err := range answering(t, answerCode(unix.NLMSG_ERROR, code)).Dump(t.Context(), Filter{}) {
			if !errors.Is(err, code) || err.Error() != want {
				t.Error(err)
			}
		}
	}
}
