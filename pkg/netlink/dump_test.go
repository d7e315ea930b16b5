package netlink

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

const object = 0x123 // the type of a message of no protocol

// scripted returns a Conn whose kernel gives these answers.
func scripted(answer func(*netlinktest.Request)) *Conn {
	return NewConn(netlinktest.New(answer), DumpBuffer)
}

// dumped returns the number of answers of a dump, and its error.
func dumped(t *testing.T, c *Conn) (n int, failed error) {
	t.Helper()
	for m, err := range c.Dump(object, 0) {
		switch {
		case failed != nil:
			t.Errorf("the dump continues after %v", failed)
		case err != nil && m != nil:
			t.Errorf("a message comes with %v", err)
		case err != nil:
			failed = err
		default:
			n++
		}
	}
	return n, failed
}

func TestDump(t *testing.T) {
	full := make([]byte, DumpBuffer+1)
	for name, tt := range map[string]struct {
		answer func(*netlinktest.Request)
		n      int
		err    error
	}{
		"no objects": {func(r *netlinktest.Request) { r.Done(0) }, 0, nil},
		"two parts": {func(r *netlinktest.Request) {
			r.Reply(object, unix.NLM_F_MULTI, []byte{1})
			r.Reply(object, unix.NLM_F_MULTI, nil)
			r.Done(0)
		}, 2, nil},
		"one part": {func(r *netlinktest.Request) {
			r.Datagram(r.Message(object, 0, nil), r.Message(object, 0, nil), r.Message(unix.NLMSG_DONE, 0, make([]byte, 4)))
		}, 2, nil},
		"an answer to an earlier request": {func(r *netlinktest.Request) {
			r.Datagram(netlinktest.Message(object, 0, r.Seq+7, nil), r.Message(object, 0, nil))
			r.Done(0)
		}, 1, nil},
		"interrupted": {func(r *netlinktest.Request) {
			r.Reply(object, unix.NLM_F_DUMP_INTR, nil)
			r.Reply(object, 0, nil)
			r.Done(0)
		}, 2, ErrInterrupted},
		"interrupted at its end": {func(r *netlinktest.Request) {
			r.Reply(object, 0, nil)
			r.Reply(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, make([]byte, 4))
		}, 1, ErrInterrupted},
		"refused": {func(r *netlinktest.Request) { r.Errno(unix.EPERM) }, 0, unix.EPERM},
		"an errno at its end": {func(r *netlinktest.Request) {
			r.Reply(object, 0, nil)
			r.Done(unix.ENOMEM)
		}, 1, unix.ENOMEM},
		"interrupted, and an errno at its end": {func(r *netlinktest.Request) {
			r.Reply(object, unix.NLM_F_DUMP_INTR, nil)
			r.Done(unix.ENOENT)
		}, 1, unix.ENOENT},
		"overrun": {func(r *netlinktest.Request) {
			r.Reply(object, 0, nil)
			r.Fail(unix.ENOBUFS)
			r.Done(0)
		}, 1, ErrOverrun},
		"a datagram that does not fit": {func(r *netlinktest.Request) {
			r.Datagram(full)
			r.Done(0)
		}, 0, ErrOverrun},
		"no end":              {func(r *netlinktest.Request) { r.Reply(object, 0, nil) }, 1, ErrNoAnswer},
		"no answer":           {func(*netlinktest.Request) {}, 0, ErrNoAnswer},
		"a read that fails":   {func(r *netlinktest.Request) { r.Fail(unix.EIO) }, 0, unix.EIO},
		"an end without code": {func(r *netlinktest.Request) { r.Reply(unix.NLMSG_DONE, 0, nil) }, 0, ErrMalformed},
		"an error without code": {func(r *netlinktest.Request) {
			r.Reply(unix.NLMSG_ERROR, 0, []byte{1})
		}, 0, ErrMalformed},
		"truncated": {func(r *netlinktest.Request) {
			m := r.Message(object, 0, make([]byte, 8))
			r.Datagram(m, m[:len(m)-4])
			r.Done(0)
		}, 1, ErrMalformed},
		"truncated header": {func(r *netlinktest.Request) { r.Datagram(r.Message(object, 0, nil)[:7]) }, 0, ErrMalformed},
		"no length":        {func(r *netlinktest.Request) { r.Datagram(make([]byte, unix.NLMSG_HDRLEN)) }, 0, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := dumped(t, scripted(tt.answer)); n != tt.n || !errors.Is(err, tt.err) {
				t.Errorf("%d answers, %v; want %d, %v", n, err, tt.n, tt.err)
			}
		})
	}
}

// TestDumpEndsEarly: the rest of a dump that ended early is not taken for the answer to
// the next request.
func TestDumpEndsEarly(t *testing.T) {
	three := func(r *netlinktest.Request) {
		for range 3 {
			r.Reply(object, 0, nil)
		}
		r.Fail(unix.ENOBUFS)
		r.Done(0)
	}
	c := scripted(func(r *netlinktest.Request) {
		if r.Number == 1 {
			three(r)
			return
		}
		r.Reply(object, 0, []byte("next"))
		r.Done(0)
	})
	for _, err := range c.Dump(object, 0) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n, err := dumped(t, c); n != 1 || err != nil {
		t.Errorf("%d answers, %v", n, err)
	}
	m, err := c.Get(object, 0)
	if err != nil || string(m.Body[:4]) != "next" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestDumpAllocatesNothingForAMessage: a dump allocates for itself, and not for its
// messages.
func TestDumpAllocatesNothingForAMessage(t *testing.T) {
	allocs := func(messages int) float64 {
		var parts [][]byte
		for range messages {
			parts = append(parts, netlinktest.Message(object, 0, 1, nil))
		}
		parts = append(parts, netlinktest.Message(unix.NLMSG_DONE, 0, 1, make([]byte, 4)))
		kernel := &recorded{}
		c := NewConn(kernel, DumpBuffer)
		return testing.AllocsPerRun(10, func() {
			c.seq, kernel.parts = 0, parts
			for _, err := range c.Dump(object, 0) {
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if none, many := allocs(0), allocs(10_000); many > none {
		t.Errorf("%v allocations for 10,000 messages, %v for none", many, none)
	}
}

// recorded is a transport with answers that were made before the request.
type recorded struct{ parts [][]byte }

func (*recorded) Send([]byte) error { return nil }
func (*recorded) Close() error      { return nil }
func (r *recorded) Receive(b []byte) (int, error) {
	if len(r.parts) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, r.parts[0])
	r.parts = r.parts[1:]
	return n, nil
}
