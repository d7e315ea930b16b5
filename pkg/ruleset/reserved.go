package ruleset

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// If a translated flow has a port on which the node listens, the flow receives the packets
// that its peer sends to the node's service: conntrack finds the flow and no socket is
// looked up (port shadowing, CVE-2021-3773). So flows leave only with ports that are not
// reserved for the node.

// privilegedPorts are the ports for flows whose source port is below 1024. Without them
// the kernel would take 512-1023 for source ports from 512, and 1-511 for others
// (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c). Most well-known services
// are below 600: SSH, DNS, HTTP, NTP and IKE cannot be shadowed even if they start later.
// rlogin, rsh and NFS require a port from 512 to 1023.
var privilegedPorts = []masq.PortRange{{First: 600, Last: 1023}}

// unprivilegedPorts are the ports that the kernel takes for all other flows.
var unprivilegedPorts = []masq.PortRange{{First: 1024, Last: 65535}}

// maxFreeRanges bounds the number of port ranges that reserved ports leave, and so the
// number of rules. The largest ranges are used.
const maxFreeRanges = 8

// maxChoices bounds the number of rules for a protocol: addresses times ranges.
const maxChoices = 256

// MergePorts returns the same ports as ascending ranges that neither overlap nor touch.
func MergePorts(all []masq.PortRange) []masq.PortRange {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b masq.PortRange) int { return cmp.Compare(a.First, b.First) })
	var out []masq.PortRange
	for _, r := range all {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// freePorts returns the ports of within that are not reserved, as ascending ranges. If
// there are more than limit ranges, it returns the largest. cut says that some ports of
// within are left out.
func freePorts(within, reserved []masq.PortRange, limit int) (free []masq.PortRange, cut bool) {
	reserved = MergePorts(reserved)
	for _, w := range within {
		from := int(w.First)
		for _, r := range reserved {
			if r.Last < w.First || r.First > w.Last {
				continue
			}
			cut = true
			if int(r.First) > from {
				free = append(free, masq.PortRange{First: uint16(from), Last: r.First - 1})
			}
			from = int(r.Last) + 1
		}
		if from <= int(w.Last) {
			free = append(free, masq.PortRange{First: uint16(from), Last: w.Last})
		}
	}
	if !cut || len(free) <= limit {
		return free, cut
	}
	slices.SortStableFunc(free, func(a, b masq.PortRange) int { return cmp.Compare(b.Size(), a.Size()) })
	free = free[:limit]
	slices.SortFunc(free, func(a, b masq.PortRange) int { return cmp.Compare(a.First, b.First) })
	return free, cut
}

// FreePorts returns the source ports that flows with an unprivileged source port can leave
// with, of toPorts or, if that is empty, of the kernel's, while ports are reserved. Of many
// ranges it returns the largest, as the rules do for a policy with few egress addresses.
func FreePorts(toPorts, reserved []masq.PortRange) []masq.PortRange {
	if len(toPorts) == 0 {
		toPorts = unprivilegedPorts
	}
	free, _ := freePorts(toPorts, reserved, max(maxFreeRanges, len(toPorts)))
	return free
}

func reservedSet(ports []masq.PortRange) Set {
	s := SetName{Kind: ReservedSet}.Set()
	for _, r := range MergePorts(ports) {
		key := r.String()
		if r.First == r.Last {
			key = strconv.Itoa(int(r.First))
		}
		s.Elements = append(s.Elements, Element{Key: key})
	}
	return s
}
