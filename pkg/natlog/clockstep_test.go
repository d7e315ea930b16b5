package natlog

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLastClockStep: only records that are earlier than a record before them, by at least the
// given duration, show that the clock was set back.
func TestLastClockStep(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	begin := time.Now().Truncate(time.Millisecond)
	for _, c := range []struct {
		offset time.Duration
		by     time.Duration // of the step that is found, 0 for none
	}{
		{0, 0},
		{time.Minute, 0},
		{30 * time.Second, 0}, // less than a minute back
		{-time.Hour, time.Hour + time.Minute},
		{-30 * time.Minute, time.Hour + time.Minute},
	} {
		src, dst, egress := netip.MustParseAddrPort("10.88.0.2:40000"), netip.MustParseAddrPort("198.51.100.2:80"), netip.MustParseAddrPort("192.0.2.2:40000")
		err := w.Append(&Record{Time: begin.Add(c.offset), Kind: Begin, Proto: unix.IPPROTO_TCP, Original: Tuple{src, dst}, Translated: Tuple{egress, dst}})
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		step, err := LastClockStep(dir, time.Minute)
		switch {
		case err != nil:
			t.Fatal(err)
		case (step != nil) != (c.by != 0), step != nil && step.By() != c.by:
			t.Errorf("%s: %+v", c.offset, step)
		}
	}
}
