// Package bytesize parses and prints the value of a flag that is a number of bytes, such as
// 1073741824. The number can have a unit of Kubernetes quantities: 1Gi, 1.5G or 500Mi.
package bytesize

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Size is a number of bytes. It implements pflag.Value.
type Size int64

// units are binary and decimal.
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

// Type is the name of the type in the help text.
func (*Size) Type() string { return "size" }

// String returns the number with the largest binary unit of which it is a whole multiple.
func (s *Size) String() string {
	n, unit := int64(*s), ""
	for _, u := range units[:5] {
		if n != 0 && int64(*s)%u.bytes == 0 {
			n, unit = int64(*s)/u.bytes, u.name
		}
	}
	return fmt.Sprintf("%d%s", n, unit)
}

// Set reads a number with or without a unit, and rounds down to whole bytes.
func (s *Size) Set(text string) error {
	number, bytes := text, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, bytes = rest, u.bytes
			break
		}
	}
	invalid := fmt.Errorf("%s is not a size; give a number of bytes, or a number with a unit such as 500Mi, 1Gi or 1.5G", masq.Quote(text))
	// big.Rat would accept a fraction, an exponent and underscores too.
	if number == "" || strings.Trim(number, "0123456789.") != "" || len(number) > 20 {
		return invalid
	}
	x, ok := new(big.Rat).SetString(number)
	if !ok {
		return invalid
	}
	x.Mul(x, new(big.Rat).SetInt64(bytes))
	n := new(big.Int).Quo(x.Num(), x.Denom())
	if !n.IsInt64() {
		return fmt.Errorf("%s is more than %d bytes; give less", masq.Quote(text), int64(math.MaxInt64))
	}
	*s = Size(n.Int64())
	return nil
}
