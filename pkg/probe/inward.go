package probe

import (
	"context"
	"fmt"
	"time"
)

const (
	// firstPause is the pause after which an exchange at the offered MSS has failed: the
	// server has sent its answer two times more (after about 0.2 and 0.6 s).
	firstPause = 1200 * time.Millisecond
	// nextPause is the least pause of the exchanges that follow.
	nextPause = 500 * time.Millisecond
	// bannerPause is the wait for a server that speaks first.
	bannerPause = 150 * time.Millisecond
	// exchangePackets is the number of packets of the last exchanges: the search ends if fewer
	// are left.
	exchangePackets = 9
	// inwardPackets is the number of packets that the measurement needs at least.
	inwardPackets = 13
	// minMSS is the smallest MSS that a socket can offer (TCP_MIN_MSS in include/net/tcp.h).
	minMSS = 88
	// ordinaryMSS is the MSS of Ethernet: an answer need not be larger to be of use.
	ordinaryMSS = 1460
	// precision is the distance of Possible and Fails at which the search ends, in bytes.
	precision = 16
)

// Inward is what exchanges with the target showed about the path from it.
type Inward struct {
	// Protocol is what the server speaks.
	Protocol Protocol
	// Offered is the MSS that the namespace's kernel offers.
	Offered int
	// Passes is true if the answer arrived at that MSS. Largest is the size of its largest
	// segment: larger segments were not tested.
	Passes  bool
	Largest int
	// Possible is the largest MSS at which the answer arrived, and Fails the smallest at which
	// it did not, if it did not arrive at the offered MSS.
	Possible, Fails int
	// Received is the number of bytes that arrived at the offered MSS, and AfterGap the number
	// of segments that arrived there after a missing one.
	Received, AfterGap int
	// NotChecked says why nothing could be measured.
	NotChecked string

	left  int // number of packets that may still be sent
	chunk int // size of the segments of a request
	// identified is the exchange that showed the protocol, if its answer was complete, and
	// identifiedMSS its MSS.
	identified    outcome
	identifiedMSS int
}

// outcome is the result of one exchange.
type outcome struct {
	connected         bool
	complete          bool
	took              time.Duration
	bytes             int
	largest, afterGap int
	offered           int
}

// MeasureInward compares answers of the target at the offered MSS and at smaller ones. outward is the
// MTU that Outward has measured, or 0: the first guess. packets is the number of packets that it
// may send, and a few more if they are fewer than it needs.
func MeasureInward(ctx context.Context, t Target, outward, packets int) (Inward, error) {
	in := Inward{left: packets, chunk: min(max(minChunk, outward-t.Headers()-timestampsLength), maxChunk)}
	if t.UDP {
		in.NotChecked = "the answers of a UDP service are not measured"
		return in, nil
	}
	in.Protocol = wellKnown[t.Address.Port()]
	if in.Protocol == Unknown {
		p, err := in.identify(ctx, t, outward)
		if err != nil {
			return in, err
		}
		if in.Protocol = p; p == Unknown {
			in.NotChecked = "the server does not speak TLS, HTTP or SSH, so that no request is known whose answer is large"
			return in, nil
		}
	}
	first, err := in.try(ctx, t, 0, firstPause)
	if err != nil {
		return in, err
	}
	if !first.connected {
		in.NotChecked = "the server does not accept a second connection"
		return in, nil
	}
	in.Offered, in.Received, in.AfterGap = first.offered, first.bytes, first.afterGap
	if first.complete {
		in.Passes, in.Largest = true, first.largest
		if in.Largest < min(in.Offered, ordinaryMSS)/2 {
			in.NotChecked = fmt.Sprintf("the answer in %s has only %d bytes: larger packets were not tested", in.Protocol, in.Received)
		}
		return in, nil
	}
	in.Fails = in.Offered
	guess := outward - t.Headers()
	var small outcome
	for _, mss := range t.smaller(in.Offered, guess) {
		if small, err = in.try(ctx, t, mss, firstPause+time.Second); err != nil {
			return in, err
		}
		if small.complete {
			in.Possible, in.Largest = mss, small.largest
			break
		}
		in.Fails = mss
	}
	if in.Possible == 0 {
		in.NotChecked = fmt.Sprintf("the server does not answer a request in %s, however small the MSS is", in.Protocol)
		in.Fails = 0
		return in, nil
	}
	if small.took > firstPause/3 { // a slow server: the first exchange may have ended early
		again, err := in.try(ctx, t, 0, 2*small.took+firstPause)
		if err != nil {
			return in, err
		}
		if again.complete {
			in.Passes, in.Largest, in.Possible, in.Fails = true, again.largest, 0, 0
			return in, nil
		}
	}
	return in, in.search(ctx, t, guess, max(nextPause, 4*small.took))
}

// smaller returns the MSS to try after the offered one: the guess, 536 and the smallest.
func (t Target) smaller(offered, guess int) (all []int) {
	candidates := []int{guess, 536, minMSS}
	if !t.is4() {
		candidates = []int{guess, t.MinMTU() - t.Headers()}
	}
	last := offered
	for _, mss := range candidates {
		if mss >= minMSS && mss < last {
			all = append(all, mss)
			last = mss
		}
	}
	return all
}

// search narrows the sizes between Possible and Fails.
func (in *Inward) search(ctx context.Context, t Target, guess int, pause time.Duration) error {
	mss := guess + precision // if the guess is right, this one fails
	if in.Possible != guess {
		mss = 0
	}
	for in.Fails-in.Possible > precision && in.left >= exchangePackets {
		if mss <= in.Possible || mss >= in.Fails {
			mss = (in.Possible + in.Fails) / 2
		}
		got, err := in.try(ctx, t, mss, pause)
		if err != nil {
			return err
		}
		if got.complete {
			in.Possible, in.Largest = mss, got.largest
		} else {
			in.Fails = mss
		}
		mss = 0
	}
	return nil
}

// try makes an exchange that offers an MSS.
func (in *Inward) try(ctx context.Context, t Target, mss int, pause time.Duration) (outcome, error) {
	if mss > 0 && mss == in.identifiedMSS {
		return in.identified, nil
	}
	s, c, err := in.open(ctx, t, mss, true, pause)
	if err != nil || s == nil {
		return outcome{}, err
	}
	defer func() { _ = s.Close() }()
	// Bytes of three full segments show that full segments arrive.
	s.enough = 3 * mss
	return in.exchange(s, t, mss, c), ctx.Err()
}

// exchange makes an exchange over a stream that offers an MSS.
func (in *Inward) exchange(s *stream, t Target, mss int, c Connection) outcome {
	begin := time.Now()
	o := outcome{connected: true, offered: c.OfferedMSS}
	o.complete = (in.Protocol.exchange(s, t) || mss > 0 && s.bytes >= s.enough) && !s.stalled
	o.took, o.bytes = time.Since(begin), s.bytes
	o.largest, o.afterGap = s.segments()
	return o
}

// identify finds out what a server speaks, with segments that pass each link, or that pass the
// path outward.
func (in *Inward) identify(ctx context.Context, t Target, outward int) (Protocol, error) {
	mss := min(max(minMSS, outward-t.Headers()), 536)
	for _, p := range []Protocol{TLS, HTTP} {
		s, c, err := in.open(ctx, t, mss, p != TLS, bannerPause)
		if err != nil || s == nil {
			return Unknown, err
		}
		if p == TLS { // servers of SSH, mail and FTP speak first
			_, _ = s.Read(make([]byte, 64))
			if s.bytes > 0 || s.ended {
				_ = s.Close()
				return recognize(s.first), nil
			}
		}
		s.pause, s.stalled, s.enough = nextPause, false, 3*mss
		in.Protocol = p
		o := in.exchange(s, t, mss, c)
		found := recognize(s.first)
		_ = s.Close()
		if found == p && o.complete {
			in.identified, in.identifiedMSS = o, mss
		}
		if found != Unknown || ctx.Err() != nil {
			return found, ctx.Err()
		}
	}
	return Unknown, nil
}
