package hostlocal

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// set is a range set: ranges of one family. An attachment gets one address of each set.
type set struct {
	key   string // in the configuration
	spans []span // at least one
}

// setConf is the configuration of a range set.
type setConf struct {
	key   string
	spans []spanConf
}

// set returns the range set, or all its faults.
func (c setConf) set() (set, error) {
	if len(c.spans) == 0 {
		return set{}, fmt.Errorf("%s has no range; give one such as [{\"subnet\": \"10.0.0.0/24\"}]", c.key)
	}
	s := set{key: c.key}
	var faults []error
	for i, r := range c.spans {
		key := c.key
		if key != oldStyle {
			key = fmt.Sprintf("%s[%d]", c.key, i)
		}
		p, err := r.span(key)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, other := range s.spans {
			switch {
			case p.first.BitLen() != other.first.BitLen():
				faults = append(faults, fmt.Errorf("%s: %s and %s have different families; give each family its own range set", key, other, p))
			case p.overlaps(other):
				faults = append(faults, fmt.Errorf("%s: %s overlaps %s of the same set; remove one of them", key, p, other))
			}
		}
		s.spans = append(s.spans, p)
	}
	return s, errors.Join(faults...)
}

// candidates yields each address that can be leased once. It starts after latest and
// continues at the beginning of the set, so that a container in a crash loop gets a new
// address each time. If latest is not in the set, it starts at the beginning.
func (s set) candidates(latest netip.Addr) iter.Seq2[netip.Addr, span] {
	return func(yield func(netip.Addr, span) bool) {
		at, a := 0, s.spans[0].first
		if i := s.find(latest); i >= 0 {
			at, a = s.next(i, latest)
		}
		for first := a; ; {
			if r := s.spans[at]; a != r.gateway && !yield(a, r) {
				return
			}
			if at, a = s.next(at, a); a == first {
				return
			}
		}
	}
}

func (s set) next(at int, a netip.Addr) (int, netip.Addr) {
	if a != s.spans[at].last {
		return at, a.Next()
	}
	at = (at + 1) % len(s.spans)
	return at, s.spans[at].first
}

// find returns the index of the range with the address, or -1.
func (s set) find(a netip.Addr) int {
	return slices.IndexFunc(s.spans, func(r span) bool { return r.contains(a) })
}

func (s set) contains(a netip.Addr) bool { return s.find(a) >= 0 }

func (s set) overlaps(t set) bool {
	return slices.ContainsFunc(s.spans, func(r span) bool { return slices.ContainsFunc(t.spans, r.overlaps) })
}

func (s set) String() string {
	names := make([]string, len(s.spans))
	for i, r := range s.spans {
		names[i] = r.String()
	}
	return strings.Join(names, ",")
}
