package cniconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// mostMappings bounds, per family, egress addresses times port ranges: the
// ruleset has a rule, or an element, for each pair.
const mostMappings = 256

// firstUnprivileged is the first port that a program may use without privilege.
const firstUnprivileged = 1024

const portsMend = "give FIRST-LAST within 1024-65535, several separated by commas"

// toPorts reads the source ports to choose from.
func (r *reader) toPorts(egress []netip.Addr) []masq.PortRange {
	const key = "toPorts"
	text, ok := r.text(key, portsMend)
	if !ok {
		return nil
	}
	count := strings.Count(text, ",") + 1
	if wrong := tooMany(count, egress); wrong != "" {
		r.add(key, quote(text), wrong, fmt.Sprintf("give at most %d", mostMappings))
		return nil
	}
	ranges, err := masq.ParsePortRanges(text)
	for _, err := range each(err) {
		r.add(key, quote(text), clip(err.Error()), portsMend)
	}
	for _, p := range ranges {
		// Sources below 1024 are exempt from the range; ports below 1024 in it
		// would go to sources that are not privileged.
		if p.First < firstUnprivileged {
			r.add(key, quote(text), fmt.Sprintf("%q has privileged ports, those below %d", p, firstUnprivileged),
				fmt.Sprintf("give ports of %d-65535", firstUnprivileged))
		}
	}
	return ranges
}

// tooMany says what is wrong with a number of port ranges, if anything is.
func tooMany(ranges int, egress []netip.Addr) string {
	if ranges > mostMappings {
		return fmt.Sprintf("has %d ranges", ranges)
	}
	for _, f := range masq.Families {
		if n := len(masq.Policy{SNATAddresses: egress}.SNATAddressesOf(f)); n*ranges > mostMappings {
			return fmt.Sprintf("%d ranges for %d IPv%s addresses make %d pairs", ranges, n, f, n*ranges)
		}
	}
	return ""
}

// each takes apart what errors.Join put together.
func each(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
