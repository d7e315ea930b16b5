package nft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// keyType is the type of a set's keys: one datatype, or a concatenation of several.
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

// number returns nft's number of the type: six bits for each part.
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

// append appends a key in the kernel's bytes.
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
	keys  []byte // concatenated
	order []int  // the indexes of the elements, sorted by key
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

// find returns the index of the element with a key.
func (x index) find(key []byte) (i int, found bool) {
	n, found := slices.BinarySearchFunc(x.order, key, func(i int, key []byte) int { return bytes.Compare(x.key(i), key) })
	if !found {
		return 0, false
	}
	return x.order[n], true
}

func (k keyType) decode(b []byte) (string, error) {
	if len(b) != k.size() {
		return "", fmt.Errorf("the key has %d bytes, not %d", len(b), k.size())
	}
	var parts []string
	for _, t := range k {
		parts = append(parts, t.decode(b[:t.size]))
		b = b[min(len(b), pad4(t.size)):]
	}
	return strings.Join(parts, " . "), nil
}
