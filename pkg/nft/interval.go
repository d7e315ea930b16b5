package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// bound is one end of an interval as the kernel's interval sets store it: its first key,
// or the key after its last.
type bound struct {
	key   []byte
	end   bool
	value []byte // in a map: the value of the interval, at its first key
}

// bounds returns the bounds of ascending ranges, as nft sends them: nft puts an end at
// zero first, and no end after a range that reaches the last address.
func (k keyType) bounds(keys []string) ([]bound, error) {
	var out []bound
	if len(k) == 1 && k[0].size == portLen {
		return portBounds(keys)
	}
	for i, key := range keys {
		first, last, err := parseRange(key)
		if err != nil {
			return nil, err
		}
		if i == 0 && !first.IsUnspecified() {
			out = append(out, bound{key: make([]byte, k.size()), end: true})
		}
		if first.BitLen() != 8*k.size() {
			return nil, fmt.Errorf("range %q is of the other family", key)
		}
		out = append(out, bound{key: first.AsSlice()})
		if next := last.Next(); next.IsValid() {
			out = append(out, bound{key: next.AsSlice(), end: true})
		}
	}
	return out, nil
}

// portBounds is bounds for ports: "22", "30000-32767".
func portBounds(keys []string) ([]bound, error) {
	var out []bound
	at := func(port uint16, end bool) {
		out = append(out, bound{key: binary.BigEndian.AppendUint16(nil, port), end: end})
	}
	for i, key := range keys {
		r, err := masq.ParsePortRange(key)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			at(0, true)
		}
		at(r.First, false)
		if r.Last < math.MaxUint16 {
			at(r.Last+1, true)
		}
	}
	return out, nil
}

// portsOf is the inverse of portBounds. all must be sorted by inOrder.
func portsOf(all []bound) []masq.PortRange {
	var out []masq.PortRange
	open := false
	for _, b := range all {
		port := binary.BigEndian.Uint16(b.key)
		switch {
		case b.end && open:
			out[len(out)-1].Last, open = port-1, false
		case !b.end:
			out, open = append(out, masq.PortRange{First: port, Last: math.MaxUint16}), true
		}
	}
	return out
}

func parseRange(s string) (first, last netip.Addr, err error) {
	if a, b, ok := strings.Cut(s, "-"); ok {
		if first, err = netip.ParseAddr(a); err == nil {
			last, err = netip.ParseAddr(b)
		}
		return first, last, err
	}
	if !strings.Contains(s, "/") {
		first, err = netip.ParseAddr(s)
		return first, first, err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return first, last, err
	}
	return p.Addr(), masq.LastAddr(p), nil
}

func equalBounds(a, b []bound) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].end != b[i].end || !bytes.Equal(a[i].key, b[i].key) || !bytes.Equal(a[i].value, b[i].value) {
			return false
		}
	}
	return true
}

// inOrder sorts bounds as nft sends them, because the kernel lists its tree in either
// direction. It drops bounds that were listed twice: see readListing.
func inOrder(all []bound) []bound {
	slices.SortFunc(all, func(a, b bound) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		switch {
		case a.end == b.end:
			return 0
		case a.end:
			return -1
		default:
			return 1
		}
	})
	return slices.CompactFunc(all, func(a, b bound) bool { return a.end == b.end && bytes.Equal(a.key, b.key) })
}

// rangesOf returns the ranges of an interval set from its sorted bounds.
func rangesOf(bounds []bound) (out []masq.AddrRange) {
	var first netip.Addr
	for _, b := range bounds {
		a, ok := netip.AddrFromSlice(b.key)
		switch {
		case !ok:
		case !b.end:
			first = a
		case first.IsValid():
			out = append(out, masq.AddrRange{First: first, Last: a.Prev()})
			first = netip.Addr{}
		}
	}
	if first.IsValid() {
		out = append(out, masq.AddrRange{First: first, Last: masq.LastAddr(netip.PrefixFrom(first, 0).Masked())})
	}
	return out
}
