package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// datatype is a type of nft as the kernel needs it: the number is for nft's own
// use when it lists the set (enum datatypes in its include/datatype.h).
type datatype struct {
	number uint32
	size   int
	append func([]byte, string) ([]byte, error)
	decode func([]byte) string
}

var datatypes = map[string]datatype{
	"ipv4_addr":    {7, 4, appendAddr, decodeAddr},
	"ipv6_addr":    {8, 16, appendAddr, decodeAddr},
	"inet_service": {13, 2, appendPort, decodePort},
	"fib_addrtype": {38, 4, appendAddrType, decodeAddrType},
	"ifname":       {41, unix.IFNAMSIZ, appendName, decodeName},
}

func appendAddr(b []byte, s string) ([]byte, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return b, err
	}
	if a.Is4() {
		raw := a.As4()
		return append(b, raw[:]...), nil
	}
	raw := a.As16()
	return append(b, raw[:]...), nil
}

func decodeAddr(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

func appendPort(b []byte, s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return b, err
	}
	return binary.BigEndian.AppendUint16(b, uint16(n)), nil
}

func decodePort(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }

var addrTypes = map[string]uint32{
	"local": unix.RTN_LOCAL, "broadcast": unix.RTN_BROADCAST, "anycast": unix.RTN_ANYCAST, "multicast": unix.RTN_MULTICAST,
}

func appendAddrType(b []byte, s string) ([]byte, error) {
	n, ok := addrTypes[s]
	if !ok {
		return b, fmt.Errorf("%q is not an address type", s)
	}
	return binary.NativeEndian.AppendUint32(b, n), nil
}

func decodeAddrType(b []byte) string {
	n := binary.NativeEndian.Uint32(b)
	for name, v := range addrTypes {
		if v == n {
			return name
		}
	}
	return strconv.Itoa(int(n))
}

func appendName(b []byte, s string) ([]byte, error) {
	name, err := strconv.Unquote(s)
	if err != nil || len(name) >= unix.IFNAMSIZ || strings.IndexByte(name, 0) >= 0 {
		return b, fmt.Errorf("%s is not the quoted name of an interface", s)
	}
	return append(append(b, name...), zeros[:unix.IFNAMSIZ-len(name)]...), nil
}

// zeros fill up names and registers.
var zeros [unix.IFNAMSIZ]byte

func decodeName(b []byte) string { return strconv.Quote(netlink.Text(b)) }

// keyType is the type of a set's keys: one datatype, or several in concatenation.
type keyType []datatype

func parseType(s string) (keyType, error) {
	var k keyType
	for name := range strings.SplitSeq(s, " . ") {
		t, ok := datatypes[name]
		if !ok {
			return nil, fmt.Errorf("unknown type %q", name)
		}
		k = append(k, t)
	}
	return k, nil
}

// number is what nft calls the type: six bits for each part.
func (k keyType) number() uint32 {
	var n uint32
	for _, t := range k {
		n = n<<6 | t.number
	}
	return n
}

func pad4(n int) int { return (n + 3) &^ 3 }

func (k keyType) size() int {
	if len(k) == 1 {
		return k[0].size
	}
	n := 0
	for _, t := range k {
		n += pad4(t.size) // parts start at whole registers
	}
	return n
}

// append appends a key as the kernel has it.
func (k keyType) append(out []byte, s string) ([]byte, error) {
	rest, more := s, true
	for i, t := range k {
		var part string
		if !more {
			return out, fmt.Errorf("key %q has %d parts, not %d", s, i, len(k))
		}
		part, rest, more = strings.Cut(rest, " . ")
		begin := len(out)
		var err error
		if out, err = t.append(out, part); err != nil {
			return out, fmt.Errorf("key %q: %w", s, err)
		}
		if n := len(out) - begin; n != t.size {
			return out, fmt.Errorf("key %q: %q has %d bytes, not %d", s, part, n, t.size)
		}
		if len(k) > 1 {
			out = append(out, zeros[:pad4(t.size)-t.size]...)
		}
	}
	if more {
		return out, fmt.Errorf("key %q has more than %d parts", s, len(k))
	}
	return out, nil
}

// index finds elements by their keys.
type index struct {
	size  int
	keys  []byte // one behind the other
	order []int  // of the elements, by their keys
}

func (k keyType) index(all []ruleset.Element) (index, error) {
	x := index{size: k.size(), keys: make([]byte, 0, len(all)*k.size()), order: make([]int, len(all))}
	for i, e := range all {
		var err error
		if x.keys, err = k.append(x.keys, e.Key); err != nil {
			return x, err
		}
		x.order[i] = i
	}
	slices.SortFunc(x.order, func(a, b int) int { return bytes.Compare(x.key(a), x.key(b)) })
	return x, nil
}

func (x index) key(i int) []byte { return x.keys[i*x.size : (i+1)*x.size] }

// find returns the place of the element with a key.
func (x index) find(key []byte) (i int, found bool) {
	n, found := slices.BinarySearchFunc(x.order, key, func(i int, key []byte) int { return bytes.Compare(x.key(i), key) })
	if !found {
		return 0, false
	}
	return x.order[n], true
}

func (k keyType) decode(b []byte) (string, error) {
	if len(b) != k.size() {
		return "", fmt.Errorf("a key of %d bytes where the type has %d", len(b), k.size())
	}
	var parts []string
	for _, t := range k {
		parts = append(parts, t.decode(b[:t.size]))
		b = b[min(len(b), pad4(t.size)):]
	}
	return strings.Join(parts, " . "), nil
}

// bound is one end of an interval as the kernel's interval sets hold it: where it
// starts, and where it no longer is.
type bound struct {
	key []byte
	end bool
}

// bounds turns ranges, in ascending order, into what an interval set holds. nft
// itself puts an end at zero first, and leaves the end off a range that reaches
// the last address.
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
			out = append(out, bound{make([]byte, k.size()), true})
		}
		if first.BitLen() != 8*k.size() {
			return nil, fmt.Errorf("range %q is of the other family", key)
		}
		out = append(out, bound{first.AsSlice(), false})
		if next := last.Next(); next.IsValid() {
			out = append(out, bound{next.AsSlice(), true})
		}
	}
	return out, nil
}

// portBounds is bounds for ports: "22", "30000-32767".
func portBounds(keys []string) ([]bound, error) {
	var out []bound
	at := func(port uint16, end bool) { out = append(out, bound{binary.BigEndian.AppendUint16(nil, port), end}) }
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

// portsOf is the inverse of portBounds. all is as inOrder returns it.
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
		if a[i].end != b[i].end || !bytes.Equal(a[i].key, b[i].key) {
			return false
		}
	}
	return true
}

// inOrder sorts bounds as nft writes them, as the kernel lists its tree in either
// direction, and drops those that were listed twice: see readListing.
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
