package agentconf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

const (
	// mostMappings bounds, per family, egress addresses times port ranges: the
	// ruleset has a rule, or an element, for each pair.
	mostMappings = 256
	// firstUnprivileged is the first port that a program may use without
	// privilege.
	firstUnprivileged = 1024

	portsMend = "give FIRST-LAST within 1024-65535, several separated by commas"
)

// toPorts reads the source ports to choose from.
func (r *reader) toPorts(k key, v value) {
	if v.kind != isString {
		r.wrongType(k.name, v, portsMend)
		return
	}
	ranges, wrong := parsePorts(v.text)
	for _, w := range wrong {
		r.fault(v.place, k.name, v.show(), w.wrong, w.mend)
	}
	if len(wrong) == 0 {
		once(r, k.name, &r.s.toPorts, found[[]masq.PortRange]{v.place, ranges, v.show()}, slices.Equal)
	}
}

// complaint is what is wrong, and what to do.
type complaint struct{ wrong, mend string }

// parsePorts reads port ranges separated by commas.
func parsePorts(text string) ([]masq.PortRange, []complaint) {
	if n := strings.Count(text, ",") + 1; n > mostMappings {
		return nil, []complaint{{fmt.Sprintf("has %d ranges", n), fmt.Sprintf("give at most %d", mostMappings)}}
	}
	var out []complaint
	ranges, err := masq.ParsePortRanges(text)
	for _, err := range each(err) {
		out = append(out, complaint{clip(err.Error()), portsMend})
	}
	for _, p := range ranges {
		// Sources below 1024 are exempt from the range; ports below 1024 in it
		// would go to sources that are not privileged.
		if p.First < firstUnprivileged {
			out = append(out, complaint{
				fmt.Sprintf("%q has privileged ports, those below %d", p, firstUnprivileged),
				fmt.Sprintf("give ports of %d-65535", firstUnprivileged),
			})
		}
	}
	return ranges, out
}

// tooManyPairs says what is wrong with the egress addresses and port ranges
// together, if anything is.
func tooManyPairs(p masq.Policy) string {
	for _, f := range masq.Families {
		addresses, ranges := len(p.SNATAddressesOf(f)), len(p.ToPorts)
		if n := addresses * ranges; n > mostMappings {
			return fmt.Sprintf("%d ranges for %d IPv%s addresses make %d pairs", ranges, addresses, f, n)
		}
	}
	return ""
}

// each takes apart what errors.Join put together.
func each(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
