package conntrack

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

func seeds(f *testing.F) {
	for _, e := range mixture() {
		e.Fields |= HasID | HasCounters | HasTimestamps
		e.ID, e.OriginalCounters, e.Start, e.Stop = 7, Counters{1, 2}, 3, 4
		e.Master = e.Original
		e.Labels[3] = 5
		copy(e.Helper[:], "ftp")
		b, _ := e.AppendBinary(nil)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
}

// A state of a protocol that has none.
func seedState(f *testing.F) {
	e := flowOf(tuple(unix.IPPROTO_UDP, "10.0.0.1:1", "10.0.0.2:2"))
	b, _ := e.AppendBinary(nil)
	e.State = TCPTimeWait
	out := netlink.Encoder(b)
	e.writeState(&out)
	f.Add([]byte(out))
}

// Whatever comes is refused or understood, and what was understood is written as
// something that is understood as the same.
func FuzzFlow(f *testing.F) {
	seeds(f)
	seedState(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var x, y Flow
		if err := x.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("not ErrMalformed: %v", err)
			}
			return
		}
		if x.Has(HasState) && protoinfo(x.Original.Proto) == 0 {
			t.Errorf("a state of %s", x.Original)
		}
		first, _ := x.AppendBinary(nil)
		if err := y.UnmarshalBinary(first); err != nil {
			t.Fatalf("cannot read its own writing: %v\n%x\n%x", err, b, first)
		}
		if x != y {
			t.Errorf("%+v\nreads back as\n%+v", x, y)
		}
		if second, _ := y.AppendBinary(nil); !bytes.Equal(first, second) {
			t.Errorf("%x\nis written again as\n%x", first, second)
		}
		for _, filter := range filters {
			filter.filter.Match(&x)
		}
		_, _, _ = x.StateName(), x.Original.String(), x.Status.String()
	})
}

func FuzzExpectation(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var x Expectation
		if err := x.UnmarshalBinary(b); err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("not ErrMalformed: %v", err)
		}
		var s Statistics
		if err := s.read(b); err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("not ErrMalformed: %v", err)
		}
	})
}
