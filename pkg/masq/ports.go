package masq

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PortRange is a range of ports, both ends included.
type PortRange struct {
	First, Last uint16
}

// ParsePortRange parses "20000-29999" or "20000".
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
		return PortRange{}, fmt.Errorf("%q is reversed: %d is above %d", s, r.First, r.Last)
	}
	return r, nil
}

// parsePortRanges reads ranges separated by commas. An empty text has no ranges. Ranges
// that overlap are an error: a port in two of them would be drawn twice as often.
func parsePortRanges(s string) (out []PortRange, errs []error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		r, err := ParsePortRange(strings.TrimSpace(part))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, o := range out {
			if r.First <= o.Last && o.First <= r.Last {
				errs = append(errs, fmt.Errorf("%q overlaps %q", r.short(), o.short()))
			}
		}
		out = append(out, r)
	}
	return out, errs
}

// PortsRemedy is the remedy for invalid source ports of a policy.
const PortsRemedy = "give FIRST-LAST within 1024-65535, several separated by commas"

// firstUnprivileged is the lowest port that an unprivileged program may use.
const firstUnprivileged = 1024

// ParseToPorts parses the source ports of a policy, and returns all problems.
func ParseToPorts(s string) ([]PortRange, []Problem) {
	if n := strings.Count(s, ",") + 1; n > MaxMappings {
		return nil, []Problem{{fmt.Sprintf("it has %d ranges", n), fmt.Sprintf("give at most %d", MaxMappings)}}
	}
	ranges, errs := parsePortRanges(s)
	var out []Problem
	for _, err := range errs {
		out = append(out, Problem{Clip(err.Error()), PortsRemedy})
	}
	for _, r := range ranges {
		// Connections from ports below 1024 are exempt from the range, so an unprivileged
		// program would get these ports.
		if r.First < firstUnprivileged {
			out = append(out, Problem{
				fmt.Sprintf("%q has privileged ports, those below %d", r.short(), firstUnprivileged),
				fmt.Sprintf("give ports of %d-65535", firstUnprivileged),
			})
		}
	}
	return ranges, out
}

// TooManyPairs returns the problem if a number of port ranges and these egress addresses
// exceed MaxMappings, and "" otherwise.
func TooManyPairs(ranges int, egress []netip.Addr) string {
	for _, f := range Families {
		addresses := len(Policy{SNATAddresses: egress}.SNATAddressesOf(f))
		if n := addresses * ranges; n > MaxMappings {
			return fmt.Sprintf("%d ranges for %d IPv%s addresses make %d pairs", ranges, addresses, f, n)
		}
	}
	return ""
}

// Size returns the number of ports in the range.
func (r PortRange) Size() int { return int(r.Last) - int(r.First) + 1 }

// String returns the range as in a configuration: "20000-29999".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// short returns the range for a message: "20000-29999", or "20000" for a single port.
func (r PortRange) short() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return r.String()
}

// MarshalText implements encoding.TextMarshaler.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *PortRange) UnmarshalText(b []byte) (err error) {
	*r, err = ParsePortRange(string(b))
	return err
}
