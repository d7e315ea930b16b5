package main

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// size is a number of bytes as a flag: 1073741824, or with a unit as Kubernetes writes
// quantities: 1Gi, 1.5G, 500Mi.
type size int64

func (*size) Type() string { return "size" }

// units are binary and decimal. The longer ones come first: "Ki" ends in no other.
var units = []struct {
	name  string
	bytes int64
}{
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"Pi", 1 << 50},
	{"k", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
	{"P", 1e15},
}

// String writes the number with the greatest binary unit that keeps it whole.
func (s *size) String() string {
	n, unit := int64(*s), ""
	for _, u := range units[:5] {
		if n != 0 && int64(*s)%u.bytes == 0 {
			n, unit = int64(*s)/u.bytes, u.name
		}
	}
	return fmt.Sprintf("%d%s", n, unit)
}

// Set reads a number with or without a unit. It rounds down to whole bytes.
func (s *size) Set(text string) error {
	number, bytes := text, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, bytes = rest, u.bytes
			break
		}
	}
	fault := fmt.Errorf("%s is no size; give a number of bytes, or one with a unit such as 500Mi, 1Gi or 1.5G", masq.Quote(text))
	// A number as people write it: neither a fraction nor an exponent.
	if number == "" || strings.Trim(number, "0123456789.") != "" || len(number) > 20 {
		return fault
	}
	x, ok := new(big.Rat).SetString(number)
	if !ok {
		return fault
	}
	x.Mul(x, new(big.Rat).SetInt64(bytes))
	n := new(big.Int).Quo(x.Num(), x.Denom())
	if !n.IsInt64() {
		return fmt.Errorf("%s is more than %d bytes; give less", masq.Quote(text), int64(math.MaxInt64))
	}
	*s = size(n.Int64())
	return nil
}
