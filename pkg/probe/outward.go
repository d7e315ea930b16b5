package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// searchWidth is the number of sizes that one round of a search tries at once.
const searchWidth = 4

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
	// Vanish is true if packets larger than MTU vanish: a black hole.
	Vanish bool
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
	// Does the target answer to a small packet with data? Some firewalls drop a SYN with data.
	small, err := r.try(ctx, r.target.smallest()+16)
	if err != nil {
		return o, err
	}
	if !small.Reached() {
		o.NotChecked = "the target does not answer to a packet with data"
		return o, nil
	}
	low, high, err := r.search(ctx, r.target.smallest()+16, size)
	if err != nil {
		return o, err
	}
	// One packet more of either size: a single loss must not become a finding.
	again, err := r.try(ctx, high)
	if err != nil {
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
	o.MTU, o.Vanish = low, true
	if err := r.locate(ctx, h, &o, high); err != nil {
		return o, err
	}
	if r.target.UDP && small.Kind == Open && o.Before == len(h.Routers) {
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

// search narrows the sizes of which low passes and high does not, until they are adjacent.
func (r *Raw) search(ctx context.Context, low, high int) (int, int, error) {
	for high-low > 1 {
		var shots []*shot
		for i := range searchWidth {
			size := low + (high-low)*(i+1)/(searchWidth+1)
			if size > low && size < high && (len(shots) == 0 || shots[len(shots)-1].size != size) {
				shots = append(shots, &shot{hops: lastHop, size: size})
			}
		}
		if len(shots) == 0 {
			shots = append(shots, &shot{hops: lastHop, size: low + 1})
		}
		err := r.fire(ctx, shots...)
		if err != nil {
			if errors.Is(err, errSpent) {
				return low, high, nil
			}
			return low, high, err
		}
		for _, s := range shots {
			if s.Reached() {
				low = max(low, s.size)
			}
		}
		for _, s := range shots {
			if !s.Reached() && s.size > low {
				high = min(high, s.size)
			}
		}
	}
	return low, high, nil
}

// locate finds the link that packets of a size do not pass: between the last router that
// answers to them and the first that does not.
func (r *Raw) locate(ctx context.Context, h Hops, o *Outward, size int) error {
	var shots []*shot
	router := map[*shot]int{} // index in h.Routers
	for i, hop := range h.Routers {
		if hop.Address.IsValid() {
			s := &shot{hops: hop.TTL, size: size}
			shots, router[s] = append(shots, s), i
		}
	}
	if len(shots) == 0 {
		return nil
	}
	silent := shots
	for range 2 { // a single loss must not move the link
		if err := r.fire(ctx, silent...); err != nil {
			if errors.Is(err, errSpent) {
				break
			}
			return err
		}
		if silent = slices.DeleteFunc(slices.Clone(silent), func(s *shot) bool { return s.Kind != None }); len(silent) == 0 {
			break
		}
	}
	for _, s := range shots {
		switch {
		case s.Kind == Expired || s.Reached():
			o.After = max(o.After, router[s])
		case s.Kind == None:
			o.Before = min(o.Before, router[s])
		}
	}
	if o.Before <= o.After { // a router that answers to some packets only
		o.Before = o.After + 1
	}
	return nil
}
