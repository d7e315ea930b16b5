package masq

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// PortRange is a range of ports, both ends included.
type PortRange struct {
	First, Last uint16
}

// ParsePortRange reads "20000-29999" or "20000".
func ParsePortRange(s string) (PortRange, error) {
	first, last, found := strings.Cut(s, "-")
	if !found {
		last = first
	}
	var r PortRange
	for _, p := range []struct {
		text string
		to   *uint16
	}{{first, &r.First}, {last, &r.Last}} {
		n, err := strconv.ParseUint(p.text, 10, 32)
		if err != nil {
			return PortRange{}, fmt.Errorf("%q is not a port range such as \"20000-29999\"", s)
		}
		if n < 1 || n > 65535 {
			return PortRange{}, fmt.Errorf("%q: port %d is not within 1-65535", s, n)
		}
		*p.to = uint16(n)
	}
	if r.First > r.Last {
		return PortRange{}, fmt.Errorf("%q is upside down: %d is above %d", s, r.First, r.Last)
	}
	return r, nil
}

// ParsePortRanges reads ranges separated by commas. An empty text is no range.
// Ranges that overlap are refused: a port in two of them would be twice as
// likely as its neighbours, which nobody means.
func ParsePortRanges(s string) ([]PortRange, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var (
		out  []PortRange
		errs []error
	)
	for part := range strings.SplitSeq(s, ",") {
		r, err := ParsePortRange(strings.TrimSpace(part))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, o := range out {
			if r.First <= o.Last && o.First <= r.Last {
				errs = append(errs, fmt.Errorf("%q overlaps %q", r, o))
			}
		}
		out = append(out, r)
	}
	return out, errors.Join(errs...)
}

// Size is the number of ports in the range.
func (r PortRange) Size() int { return int(r.Last) - int(r.First) + 1 }

// String is the range as it is written: "20000-29999".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText implements encoding.TextMarshaler.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *PortRange) UnmarshalText(b []byte) (err error) {
	*r, err = ParsePortRange(string(b))
	return err
}
