package report

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Dropped is how many packets the table's rules have dropped since they were made.
type Dropped struct {
	Spoofed   uint64 `json:"spoofed"`         // the source was not the attachment's
	Loopback  uint64 `json:"loopback"`        // the destination was a loopback address of the node
	OtherLink uint64 `json:"otherLink"`       // the source was an attachment's, but the link was not
	Expected  uint64 `json:"expected"`        // a helper announced them for a port that is not the container's
	Invalid   uint64 `json:"invalid"`         // conntrack knew no flow for them
	NoPort    uint64 `json:"noPort"`          // each port of the policy was reserved for the node
	NoEgress  uint64 `json:"noEgressAddress"` // the node had no egress address of the policy
}

// DroppedOf sums up what the rules have counted.
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
		{d.Spoofed, "spoofed"}, {d.Loopback, "to the node's loopback"}, {d.OtherLink, "by other links"}, {d.Expected, "announced to a port of the node"}, {d.Invalid, "invalid"}, {d.NoPort, "without a port"}, {d.NoEgress, "without an egress address"},
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

// PodDropped is how many packets of an attachment the rules have dropped since its
// elements were made. A number is null where the kernel does not tell: the source is
// not checked, as on a link that another plugin made, or invalid packets are not
// dropped. Packets without an egress address are counted by policy only.
type PodDropped struct {
	Spoofed *uint64 `json:"spoofed"`
	// OtherLink is how many packets had the attachment's address and entered by another
	// link; null where other links are accepted.
	OtherLink *uint64 `json:"otherLink"`
	Invalid   *uint64 `json:"invalid"`
}

// PodDroppedOf is what was dropped of an attachment.
func PodDroppedOf(a masq.Attachment, d nft.Dropped) PodDropped {
	var out PodDropped
	if n, ok := d.Spoofed[a.Identity()]; ok {
		out.Spoofed = &n
	}
	out.OtherLink, out.Invalid = sumOf(a.Addresses, d.OtherLink), sumOf(a.Addresses, d.Invalid)
	return out
}

// sumOf adds up what was counted of addresses; nil if no address is counted.
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
