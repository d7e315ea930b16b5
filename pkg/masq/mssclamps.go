package masq

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// MSSClamps lower the maximum segment size of TCP connections with some destinations. They
// have the size in bytes by destination prefix: the longest prefix that contains the
// destination applies.
type MSSClamps map[netip.Prefix]uint16

// Prefixes returns the prefixes, IPv4 first.
func (c MSSClamps) Prefixes() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(c))
	for p := range c {
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// Validate reports all invalid entries. key is the key of the configuration, for messages.
func (c MSSClamps) Validate(key string) error {
	var errs []error
	if len(c) > MaxPrefixes {
		errs = append(errs, fmt.Errorf("%s: has %d entries, more than %d", key, len(c), MaxPrefixes))
	}
	for _, p := range c.Prefixes() {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("%s: %q is not a prefix whose host bits are zero", key, p))
		}
		if _, err := ClampTo(int(c[p])); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", key, p, err))
		}
	}
	return errors.Join(errs...)
}

// MSSRange is a range of destinations with one maximum segment size, in bytes.
type MSSRange struct {
	AddrRange
	MSS uint16
}

// HasMSSClamps reports whether the maximum segment size depends on the destination.
func (p Policy) HasMSSClamps() bool { return len(p.MSSClamps)+len(p.LocalMSSClamps) > 0 }

// MSSRanges returns the destinations of one family with the maximum segment sizes that
// MSSClamps and LocalMSSClamps give them: ascending ranges that do not overlap. If both give
// one, it is the smaller. MSSClamp, which applies too, is not among them.
func (p Policy) MSSRanges(f Family) []MSSRange {
	var bounds []netip.Addr
	var walks []*prefixWalk
	for _, clamps := range []MSSClamps{p.MSSClamps, p.LocalMSSClamps} {
		w := &prefixWalk{clamps: clamps}
		for x := range clamps {
			if FamilyOf(x.Addr()) != f {
				continue
			}
			w.rest = append(w.rest, x)
			bounds = append(bounds, x.Addr())
			if next := LastAddr(x).Next(); next.IsValid() {
				bounds = append(bounds, next)
			}
		}
		slices.SortFunc(w.rest, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		walks = append(walks, w)
	}
	slices.SortFunc(bounds, netip.Addr.Compare)
	bounds = slices.Compact(bounds)

	var out []MSSRange
	for i, b := range bounds {
		mss := uint16(0)
		for _, w := range walks {
			if n := w.at(b); n != 0 && (mss == 0 || n < mss) {
				mss = n
			}
		}
		if mss == 0 {
			continue
		}
		last := LastAddr(netip.PrefixFrom(b, 0))
		if i+1 < len(bounds) {
			last = bounds[i+1].Prev()
		}
		if n := len(out); n > 0 && out[n-1].MSS == mss && out[n-1].Last.Next() == b {
			out[n-1].Last = last
			continue
		}
		out = append(out, MSSRange{AddrRange{b, last}, mss})
	}
	return out
}

// MSSTo returns the maximum segment size of connections to a destination, in bytes, or 0 if the
// policy gives none: the smaller of MSSClamp and MSSRanges. The clamp "pmtu" gives none: the
// MTU of the route is the kernel's own limit.
func (p Policy) MSSTo(a netip.Addr) int {
	mss := p.MSSClamp.Bytes()
	for _, r := range p.MSSRanges(FamilyOf(a)) {
		if r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 && (mss == 0 || int(r.MSS) < mss) {
			mss = int(r.MSS)
		}
	}
	return mss
}

// prefixWalk finds the longest prefix for ascending addresses. The addresses must include
// the first address of each prefix.
type prefixWalk struct {
	clamps MSSClamps
	rest   []netip.Prefix // that begin later: by address, of equal addresses the shortest first
	open   []netip.Prefix // that contain the last address, each within the one before it
}

// at returns the size of the longest prefix that contains an address, or 0 without one.
func (w *prefixWalk) at(a netip.Addr) uint16 {
	for n := len(w.open); n > 0 && !w.open[n-1].Contains(a); n-- {
		w.open = w.open[:n-1]
	}
	for len(w.rest) > 0 && w.rest[0].Addr() == a {
		w.open, w.rest = append(w.open, w.rest[0]), w.rest[1:]
	}
	if len(w.open) == 0 {
		return 0
	}
	return w.clamps[w.open[len(w.open)-1]]
}
