package hostlocal

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// rangeSet is a range set: ranges of one family. An attachment gets one address of each set.
type rangeSet struct {
	key    string      // in the configuration
	ranges []addrRange // at least one
}

// rangeSetConf is the configuration of a range set.
type rangeSetConf struct {
	key    string
	ranges []rangeConf
}

// set returns the range set, or all its faults.
func (c rangeSetConf) set() (rangeSet, error) {
	if len(c.ranges) == 0 {
		return rangeSet{}, fmt.Errorf("%s has no range; give one such as [{\"subnet\": \"10.0.0.0/24\"}]", c.key)
	}
	s := rangeSet{key: c.key}
	var faults []error
	for i, r := range c.ranges {
		key := c.key
		if key != oldStyle {
			key = fmt.Sprintf("%s[%d]", c.key, i)
		}
		p, err := r.span(key)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, other := range s.ranges {
			switch {
			case p.first.BitLen() != other.first.BitLen():
				faults = append(faults, fmt.Errorf("%s: %s and %s have different families; give each family its own range set", key, other, p))
			case p.overlaps(other):
				faults = append(faults, fmt.Errorf("%s: %s overlaps %s of the same set; remove one of them", key, p, other))
			}
		}
		s.ranges = append(s.ranges, p)
	}
	return s, errors.Join(faults...)
}

// candidates yields each address that can be leased once. It starts after latest and
// continues at the beginning of the set, so that a container in a crash loop gets a new
// address each time. If latest is not in the set, it starts at the beginning.
func (s rangeSet) candidates(latest netip.Addr) iter.Seq2[netip.Addr, addrRange] {
	return func(yield func(netip.Addr, addrRange) bool) {
		at, a := 0, s.ranges[0].first
		if i := s.find(latest); i >= 0 {
			at, a = s.next(i, latest)
		}
		for first := a; ; {
			if r := s.ranges[at]; a != r.gateway && !yield(a, r) {
				return
			}
			if at, a = s.next(at, a); a == first {
				return
			}
		}
	}
}

func (s rangeSet) next(at int, a netip.Addr) (int, netip.Addr) {
	if a != s.ranges[at].last {
		return at, a.Next()
	}
	at = (at + 1) % len(s.ranges)
	return at, s.ranges[at].first
}

// find returns the index of the range with the address, or -1.
func (s rangeSet) find(a netip.Addr) int {
	return slices.IndexFunc(s.ranges, func(r addrRange) bool { return r.contains(a) })
}

func (s rangeSet) contains(a netip.Addr) bool { return s.find(a) >= 0 }

func (s rangeSet) overlaps(t rangeSet) bool {
	return slices.ContainsFunc(s.ranges, func(r addrRange) bool { return slices.ContainsFunc(t.ranges, r.overlaps) })
}

func (s rangeSet) String() string {
	names := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		names[i] = r.String()
	}
	return strings.Join(names, ",")
}
