package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxHops is the greatest number of routers that Hops looks for.
	maxHops = 15
	// maxSilent is the number of silent routers after which Hops gives up.
	maxSilent = 4
	// hopsTime is the time after which Hops gives up.
	hopsTime = 500 * time.Millisecond
	// hopsAtOnce is the number of packets that Hops sends before it waits: a packet with a
	// TTL beyond the target's distance reaches the target and is one too many.
	hopsAtOnce = 3
	// lastHop is the TTL of a packet for the target.
	lastHop = 64
)

// Hop is a router on the path, by its distance.
type Hop struct {
	TTL int
	// Address is invalid if the router does not answer.
	Address netip.Addr
	RTT     time.Duration
}

// Hops are the routers between the namespace and the target.
type Hops struct {
	Routers []Hop
	// Reached is true if a packet reached the target, whose answer took RTT.
	Reached bool
	RTT     time.Duration
	// Refused is the answer of a router that does not forward the packet, or zero.
	Refused Answer

	known bool // all routers are known
}

// LastAnswer returns the index of the last router that answers, or -1.
func (h Hops) LastAnswer() int {
	for i, r := range slices.Backward(h.Routers) {
		if r.Address.IsValid() {
			return i
		}
	}
	return -1
}

// Hops finds the routers on the path with small packets.
func (r *Raw) Hops(ctx context.Context) (h Hops, err error) {
	begin := time.Now()
	defer func() {
		// How many silent routers follow the last one that answers is not known, unless a
		// packet with a small TTL has reached the target.
		if !h.known || !h.Reached {
			h.Routers = h.Routers[:h.LastAnswer()+1]
		}
	}()
	for ttl := 1; ttl <= maxHops; ttl += hopsAtOnce {
		var shots []*shot
		for i := range hopsAtOnce {
			shots = append(shots, &shot{hops: ttl + i})
		}
		if ttl == 1 {
			shots = append(shots, &shot{hops: lastHop})
		}
		if err := r.fire(ctx, shots...); err != nil {
			if errors.Is(err, errSpent) {
				return h, nil
			}
			return h, err
		}
		if h.read(shots) || h.silent() >= maxSilent || time.Since(begin) > hopsTime {
			return h, nil
		}
	}
	return h, nil
}

// read adds the answers to packets, and reports whether all routers are known.
func (h *Hops) read(shots []*shot) bool {
	for _, s := range shots {
		switch {
		case s.Reached():
			if h.RTT == 0 || s.hops == lastHop {
				h.Reached, h.RTT = true, s.rtt
			}
			h.known = h.known || s.hops < lastHop
		case s.hops == lastHop && s.Kind == Unreachable:
			h.Refused = s.Answer
		case s.hops == lastHop || h.known:
		case s.Kind == Unreachable:
			h.Refused, h.known = s.Answer, true
		case s.Kind == Expired:
			h.Routers = append(h.Routers, Hop{TTL: s.hops, Address: s.From, RTT: s.rtt})
		default:
			h.Routers = append(h.Routers, Hop{TTL: s.hops})
		}
	}
	return h.known
}

// silent returns the number of routers that do not answer at the end.
func (h *Hops) silent() int { return len(h.Routers) - 1 - h.LastAnswer() }
