package report

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Dropped has the numbers of packets that the rules have dropped since they were created.
type Dropped struct {
	Spoofed   uint64 `json:"spoofed"`         // the source was not the attachment's
	Loopback  uint64 `json:"loopback"`        // the destination was a loopback address of the node
	OtherLink uint64 `json:"otherLink"`       // the source was an attachment's, but the link was not
	Expected  uint64 `json:"expected"`        // a helper announced them for a port of the node
	Invalid   uint64 `json:"invalid"`         // conntrack found no flow for them
	NoPort    uint64 `json:"noPort"`          // all ports of the policy were reserved for the node
	NoEgress  uint64 `json:"noEgressAddress"` // the node had no egress address of the policy
}

// DroppedOf sums the counters of the rules.
func DroppedOf(rules []nft.CountedRule) Dropped {
	var out Dropped
	for _, r := range rules {
		switch reason, _ := ruleset.DropReasonOf(r.Chain, r.ID); reason {
		case ruleset.DropSpoofed:
			out.Spoofed += r.Packets
		case ruleset.DropLoopback:
			out.Loopback += r.Packets
		case ruleset.DropOtherLink:
			out.OtherLink += r.Packets
		case ruleset.DropExpected:
			out.Expected += r.Packets
		case ruleset.DropInvalid:
			out.Invalid += r.Packets
		case ruleset.DropNoPort:
			out.NoPort += r.Packets
		case ruleset.DropNoEgress:
			out.NoEgress += r.Packets
		}
	}
	return out
}

func (d Dropped) String() string {
	var out []string
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{d.Spoofed, "spoofed"}, {d.Loopback, "to the node's loopback"}, {d.OtherLink, "by other links"}, {d.Expected, "announced for a port of the node"}, {d.Invalid, "invalid"}, {d.NoPort, "without a port"}, {d.NoEgress, "without an egress address"},
	} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// PodDropped has the numbers of packets of an attachment that the rules have dropped since
// ADD. A number is null if the rules do not check for it: the source of packets on a link
// that another plugin made, or invalid packets. Packets that were dropped because of a
// missing egress address are counted per policy only.
type PodDropped struct {
	Spoofed *uint64 `json:"spoofed"`
	// OtherLink counts packets with the attachment's source address that entered through
	// another link. It is null if other links are accepted.
	OtherLink *uint64 `json:"otherLink"`
	Invalid   *uint64 `json:"invalid"`
}

// PodDroppedOf returns the counters of an attachment.
func PodDroppedOf(a masq.Attachment, d nft.Dropped) PodDropped {
	var out PodDropped
	if n, ok := d.Spoofed[a.Identity()]; ok {
		out.Spoofed = &n
	}
	out.OtherLink, out.Invalid = sumOf(a.Addresses, d.OtherLink), sumOf(a.Addresses, d.Invalid)
	return out
}

// sumOf returns the sum of the counters of addresses, or nil if none has a counter.
func sumOf(all []netip.Addr, by map[string]uint64) (sum *uint64) {
	for _, addr := range all {
		if n, ok := by[addr.String()]; ok {
			if sum == nil {
				sum = new(uint64)
			}
			*sum += n
		}
	}
	return sum
}

func (d PodDropped) String() string {
	count := func(n *uint64, what, otherwise string) string {
		if n == nil {
			return otherwise
		}
		return fmt.Sprintf("%d %s", *n, what)
	}
	out := count(d.Spoofed, "spoofed", "sources are not checked") + ", " + count(d.Invalid, "invalid", "invalid packets are not dropped")
	if d.OtherLink != nil && *d.OtherLink > 0 {
		out += fmt.Sprintf(", %d by other links", *d.OtherLink)
	}
	return out
}
