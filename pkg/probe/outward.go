package probe

import (
	"context"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
)

// commonMTUs are the MTUs of usual links and tunnels, in ascending order (RFC 1191, section 7.1;
// WireGuard, VXLAN, GRE, PPPoE, jumbo frames). Most narrow links have one of them, so a search
// that begins with them needs few packets (RFC 4821, section 7.3).
var commonMTUs = []int{212, 296, 576, 1006, 1280, 1400, 1420, 1450, 1480, 1492, 1500, 4352, 9000} //nolint:gochecknoglobals // a table

// maxPacket is the length of the largest IPv4 packet.
const maxPacket = 65535

// Outward is what packets with DF set showed about the path to the target.
type Outward struct {
	// Tried is the size of the largest packet that was sent: the MTU that the namespace
	// believes in.
	Tried int
	// MTU is the largest packet that reached the target, and 0 if none did.
	MTU int
	// Named is the MTU of a router's ICMP "fragmentation needed", and By that router. It is 0 if
	// no router sent one.
	Named int
	By    netip.Addr
	// Vanish is true if packets larger than MTU vanish: a black hole. Lost is the smallest packet
	// that vanished: MTU+1, or more if the packets that a probe may send did not suffice.
	Vanish bool
	Lost   int
	// After is the last router that answers to a large packet, and Before the first that
	// answers to a small one only: the narrow link is between them. They are indices of
	// Hops.Routers: -1 is the namespace itself, and len(Routers) the target.
	After, Before int
	// NotChecked says why nothing could be measured.
	NotChecked string
}

// Outward searches the largest packet that reaches the target. mtu is the size to begin with:
// the MTU that the namespace believes in.
func (r *Raw) Outward(ctx context.Context, h Hops, mtu int) (Outward, error) {
	o := Outward{Tried: mtu, After: -1, Before: len(h.Routers)}
	if !h.Reached { // the packet of Hops, or its answer, may have been lost
		a, err := r.try(ctx, 0)
		if err != nil {
			return o, err
		}
		if !a.Reached() {
			o.NotChecked = "the target does not answer to small packets"
			return o, nil
		}
	}
	size := min(mtu, maxPacket) // the loopback has an MTU of 65536
	for {
		a, err := r.try(ctx, size)
		if err != nil {
			return o, err
		}
		switch {
		case a.Reached():
			o.MTU = size
			return o, nil
		case a.Kind == TooBig && a.MTU < size && a.MTU >= r.target.smallest():
			o.Named, o.By, size = a.MTU, a.From, a.MTU
			continue
		}
		break
	}
	// The search leaves packets to confirm its result, and for the routers that locate tries.
	low, high, last, err := r.search(ctx, r.target.smallest()+16, size, 4+bits.Len(uint(len(h.Routers))))
	if err != nil {
		return o, err
	}
	if !last.Reached() { // no size passes
		o.NotChecked = "the target does not answer to a packet with data" // some firewalls drop a SYN with data
		if last, err = r.try(ctx, low); err != nil || !last.Reached() {
			return o, err
		}
		o.NotChecked = ""
	}
	// One packet more of either size: a single loss must not become a finding.
	again := shot{hops: lastHop, size: high}
	if err := r.fire(ctx, &again); err != nil {
		return o, err
	}
	if again.Reached() {
		o.NotChecked = "packets are lost at random"
		return o, nil
	}
	if a, err := r.try(ctx, low); err != nil || !a.Reached() {
		o.NotChecked = "the target does not answer to each packet"
		return o, err
	}
	o.MTU, o.Lost, o.Vanish = low, high, true
	if err := r.locate(ctx, h, &o, high); err != nil {
		return o, err
	}
	if r.target.UDP && last.Kind == Open && o.Before == len(h.Routers) {
		o.Vanish, o.NotChecked = false, "the service answers to small datagrams only, or its large answers are lost"
	}
	return o, nil
}

// try sends a packet of a size to the target, and a second one if no answer comes.
func (r *Raw) try(ctx context.Context, size int) (Answer, error) {
	for range 2 {
		s := shot{hops: lastHop, size: size}
		if err := r.fire(ctx, &s); err != nil || s.Kind != None {
			return s.Answer, err
		}
	}
	return Answer{}, nil
}

// search narrows the sizes of which low passes and high does not, until they are adjacent, or
// until few packets are left. last is the last answer of the target.
func (r *Raw) search(ctx context.Context, low, high, reserve int) (_, _ int, last Answer, err error) {
	for high-low > 1 && r.left() > reserve {
		s := shot{hops: lastHop, size: nextSize(low, high)}
		if err := r.fire(ctx, &s); err != nil {
			return low, high, last, err
		}
		if s.Reached() {
			low, last = s.size, s.Answer
		} else {
			high = s.size
		}
	}
	return low, high, last, nil
}

// nextSize returns the size to try between low, which passes, and high, which does not: a common
// MTU, then the size above it, then a size above the middle. A size that passes costs two packets.
func nextSize(low, high int) int {
	first, _ := slices.BinarySearch(commonMTUs, low+1)
	end, _ := slices.BinarySearch(commonMTUs, high)
	switch {
	case first < end:
		return commonMTUs[(first+end)/2]
	case slices.Contains(commonMTUs, low):
		return low + 1
	}
	return low + max(1, (high-low)*3/5)
}

// locate finds the link that packets of a size do not pass: between the last router that
// answers to them and the first that does not. It ends early if no packets are left.
func (r *Raw) locate(ctx context.Context, h Hops, o *Outward, size int) error {
	var routers []int // the routers that answer, as indices in h.Routers
	for i, hop := range h.Routers {
		if hop.Address.IsValid() {
			routers = append(routers, i)
		}
	}
	for low, high := 0, len(routers); low < high; {
		i := (low + high) / 2
		passed, err := r.passes(ctx, h.Routers[routers[i]].TTL, size)
		if err == nil && !passed && i+1 < high { // a router may limit the rate of its answers
			if passed, err = r.passes(ctx, h.Routers[routers[i+1]].TTL, size); passed {
				i++
			}
		}
		switch {
		case errors.Is(err, errSpent):
			return nil
		case err != nil:
			return err
		case passed:
			o.After, low = routers[i], i+1
		default:
			o.Before, high = routers[i], i
		}
	}
	return nil
}

// passes reports whether a router answers to a packet of a size, or to a second one.
func (r *Raw) passes(ctx context.Context, ttl, size int) (bool, error) {
	for range 2 {
		s := shot{hops: ttl, size: size}
		if err := r.fire(ctx, &s); err != nil || s.Kind != None {
			return s.Kind == Expired || s.Reached(), err
		}
	}
	return false, nil
}
