package conntrack

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

// answering returns a Conn with a kernel that gives these answers.
func answering(answer func(*netlinktest.Request)) *Conn {
	c := netlink.NewConn(netlinktest.New(answer), netlink.DumpBuffer)
	return &Conn{dumps: c, requests: c}
}

// oneFlow is the body of a message about a flow.
func oneFlow() []byte {
	e := mixture()[0]
	b, _ := e.AppendBinary([]byte{unix.AF_INET, 0, 0, 0})
	return b
}

// What is wrong with messages is tested in package netlink; here, that it arrives.
func TestAnswersOfADump(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*netlinktest.Request)
		flows  int
		err    error
	}{
		{"empty", func(r *netlinktest.Request) { r.Done(0) }, 0, nil},
		{"two", func(r *netlinktest.Request) {
			r.Reply(msgNew, 0, oneFlow())
			r.Reply(msgNew, 0, oneFlow())
			r.Done(0)
		}, 2, nil},
		{"interrupted", func(r *netlinktest.Request) {
			r.Reply(msgNew, unix.NLM_F_DUMP_INTR, oneFlow())
			r.Done(0)
		}, 1, ErrInterrupted},
		{"without a right", func(r *netlinktest.Request) { r.Errno(unix.EPERM) }, 0, unix.EPERM},
		{"failed at its end", func(r *netlinktest.Request) {
			r.Reply(msgNew, 0, oneFlow())
			r.Done(unix.ENOMEM)
		}, 1, unix.ENOMEM},
		{"overrun", func(r *netlinktest.Request) { r.Fail(unix.ENOBUFS) }, 0, ErrOverrun},
		{"no end", func(r *netlinktest.Request) { r.Reply(msgNew, 0, oneFlow()) }, 1, netlink.ErrNoAnswer},
		{"without attributes", func(r *netlinktest.Request) { r.Reply(msgNew, 0, nil) }, 0, ErrMalformed},
		{"with half a flow", func(r *netlinktest.Request) { r.Reply(msgNew, 0, oneFlow()[:60]) }, 0, ErrMalformed},
	} {
		n := 0
		var failed error
		for f, err := range answering(tt.answer).Dump(t.Context(), Filter{}) {
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

// A dump that was interrupted before flows are deleted is reported.
func TestInterruptedDeletion(t *testing.T) {
	c := answering(func(r *netlinktest.Request) {
		if r.Type == msgDelete {
			r.Errno(0)
			return
		}
		r.Reply(msgNew, unix.NLM_F_DUMP_INTR, oneFlow())
		r.Done(0)
	})
	c.requests = answering(func(r *netlinktest.Request) { r.Errno(0) }).requests
	n, err := c.DeleteMatching(t.Context(), Filter{}, func(*Flow) bool { return true })
	if n != 1 || !errors.Is(err, ErrInterrupted) {
		t.Errorf("deleted %d: %v", n, err)
	}
}

func TestAnswersOfALookup(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*netlinktest.Request)
		err    error
	}{
		{"found", func(r *netlinktest.Request) { r.Reply(msgNew, 0, oneFlow()) }, nil},
		{"not found", func(r *netlinktest.Request) { r.Errno(unix.ENOENT) }, ErrNotFound},
		{"without a right", func(r *netlinktest.Request) { r.Errno(unix.EPERM) }, unix.EPERM},
		{"nothing", func(*netlinktest.Request) {}, netlink.ErrNoAnswer},
		{"half a flow", func(r *netlinktest.Request) { r.Reply(msgNew, 0, oneFlow()[:60]) }, ErrMalformed},
	} {
		_, err := answering(tt.answer).Get(mixture()[0].Original)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A flow that cannot be deleted is an error, and does not keep others.
func TestRefusedDeletion(t *testing.T) {
	c := answering(func(r *netlinktest.Request) {
		for range 4 {
			r.Reply(msgNew, 0, oneFlow())
		}
		r.Done(0)
	})
	c.requests = answering(func(r *netlinktest.Request) {
		switch r.Number {
		case 2:
			r.Errno(unix.EBUSY)
		case 3:
			r.Errno(unix.ENOENT)
		case 4:
			r.Errno(0)
		}
	}).requests
	n, err := c.DeleteMatching(t.Context(), Filter{}, func(*Flow) bool { return true })
	if n != 2 || !errors.Is(err, unix.EBUSY) {
		t.Errorf("deleted %d: %v", n, err)
	}
}

// Flows count as deleted only if the kernel acknowledges the requests.
func TestUnacknowledgedDeletion(t *testing.T) {
	c := answering(func(r *netlinktest.Request) {
		r.Reply(msgNew, 0, oneFlow())
		r.Done(0)
	})
	c.requests = answering(func(*netlinktest.Request) {}).requests
	n, err := c.DeleteMatching(t.Context(), Filter{}, func(*Flow) bool { return true })
	if n != 0 || !errors.Is(err, netlink.ErrNoAnswer) {
		t.Errorf("deleted %d: %v", n, err)
	}
}

// An error says what the reason is.
func TestWithoutTheRight(t *testing.T) {
	for code, want := range map[unix.Errno]string{
		unix.EPERM:           "conntrack: operation not permitted: CAP_NET_ADMIN is needed",
		unix.EINVAL:          "conntrack: invalid argument: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)",
		unix.EPROTONOSUPPORT: "conntrack: protocol not supported: the kernel lacks conntrack over netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)",
		unix.ENOMEM:          "conntrack: cannot allocate memory",
	} {
		for _, err := range answering(func(r *netlinktest.Request) { r.Errno(code) }).Dump(t.Context(), Filter{}) {
			if !errors.Is(err, code) || err.Error() != want {
				t.Error(err)
			}
		}
	}
}
