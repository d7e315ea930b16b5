package netlink

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

// notified returns a Subscription and the other end of its socket.
func notified(t *testing.T) (s *Subscription, kernel int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = newSubscription(pair[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Close(), unix.Close(pair[1]) })
	return s, pair[1]
}

func notify(t *testing.T, kernel int, messages ...[]byte) {
	t.Helper()
	var all []byte
	for _, m := range messages {
		all = append(all, m...)
	}
	if _, err := unix.Write(kernel, all); err != nil {
		t.Fatal(err)
	}
}

// next returns the sequence number of the next message, or an error.
func next(t *testing.T, s *Subscription) (uint32, error) {
	t.Helper()
	for m, err := range s.Messages(t.Context()) {
		if err != nil {
			return 0, err
		}
		return m.Seq, nil
	}
	t.Fatal("the loop ended without an error")
	return 0, nil
}

func numbered(seq uint32) []byte { return netlinktest.Message(object, 0, seq, nil) }

// TestMessages: each message comes once, also if a loop ends in the middle of a datagram.
func TestMessages(t *testing.T) {
	s, kernel := notified(t)
	notify(t, kernel, numbered(1), numbered(2))
	notify(t, kernel, numbered(3))
	for want := range uint32(3) {
		if got, err := next(t, s); got != want+1 || err != nil {
			t.Fatalf("%d, %v; want %d", got, err, want+1)
		}
	}
}

// TestWaiting: the loop yields the messages that have arrived, and ends without waiting for others.
func TestWaiting(t *testing.T) {
	s, kernel := notified(t)
	waiting := func() (got []uint32, err error) {
		for m, err := range s.Waiting() {
			if err != nil {
				return got, err
			}
			got = append(got, m.Seq)
		}
		return got, nil
	}
	if got, err := waiting(); len(got) > 0 || err != nil {
		t.Errorf("before the first message: %d, %v", got, err)
	}
	notify(t, kernel, numbered(1), numbered(2))
	notify(t, kernel, numbered(3))
	for _, err := range s.Waiting() {
		if err != nil {
			t.Fatal(err)
		}
		break // the next loop continues in the middle of a datagram
	}
	if got, err := waiting(); !slices.Equal(got, []uint32{2, 3}) || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	notify(t, kernel, make([]byte, notificationBuffer+1))
	notify(t, kernel, numbered(4))
	if _, err := waiting(); !errors.Is(err, ErrOverrun) {
		t.Error(err)
	}
	if got, err := waiting(); !slices.Equal(got, []uint32{4}) || err != nil {
		t.Errorf("after the loss: %d, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMessagesMalformed(t *testing.T) {
	s, kernel := notified(t)
	notify(t, kernel, numbered(1), numbered(2)[:9])
	notify(t, kernel, numbered(3))
	for _, want := range []error{nil, ErrMalformed, nil} {
		if _, err := next(t, s); !errors.Is(err, want) {
			t.Errorf("%v; want %v", err, want)
		}
	}
}

func TestMessagesTooLong(t *testing.T) {
	s, kernel := notified(t)
	notify(t, kernel, make([]byte, notificationBuffer+1))
	notify(t, kernel, numbered(3))
	if _, err := next(t, s); !errors.Is(err, ErrOverrun) {
		t.Error(err)
	}
	if got, err := next(t, s); got != 3 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

// TestOverrun: messages that fit are still there after an overrun, and Drain discards
// them.
func TestOverrun(t *testing.T) {
	for _, drained := range []bool{false, true} {
		s, kernel := notified(t)
		reads := 0
		s.receive = func(fd int, b []byte) (int, error) {
			if reads++; reads == 1 || drained && reads == 3 {
				return 0, unix.ENOBUFS
			}
			return receive(fd, b)
		}
		notify(t, kernel, numbered(1))
		notify(t, kernel, numbered(2))
		if _, err := next(t, s); !errors.Is(err, ErrOverrun) || !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
		want := uint32(1)
		if drained {
			if err := s.Drain(); err != nil {
				t.Fatal(err)
			}
			notify(t, kernel, numbered(3))
			want = 3
		}
		if got, err := next(t, s); got != want || err != nil {
			t.Errorf("drained %t: %d, %v; want %d", drained, got, err, want)
		}
	}
}

func TestDrainReports(t *testing.T) {
	s, _ := notified(t)
	s.receive = func(int, []byte) (int, error) { return 0, unix.EIO }
	if err := s.Drain(); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

func TestMessagesEnd(t *testing.T) {
	s, kernel := notified(t)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go cancel(reason)
	for _, err := range s.Messages(ctx) {
		if !errors.Is(err, reason) {
			t.Error(err)
		}
	}
	notify(t, kernel, numbered(1)) // it continues with another context
	if got, err := next(t, s); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	go func() { _ = s.Close() }()
	for range 2 { // while the loop waits, and before it begins
		if _, err := next(t, s); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	for _, err := range []error{s.Join(1), s.Leave(1), s.Drain()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}
