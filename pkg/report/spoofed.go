package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// minSpoofed is the number of packets with a source that is not the attachment's from which
// the attachment has a problem. A container sends a few when it loses an address.
const minSpoofed = 10

// Spoofed is an attachment that sent packets with a source that is not its own.
type Spoofed struct {
	Owner
	// Link is the interface of the node that the packets entered by. It is empty if unknown.
	Link      string
	Addresses []netip.Addr
	Packets   uint64
}

// SpoofedOf returns the attachments whose packets the spoof check dropped, those with the
// most packets first.
func SpoofedOf(records []store.Record, d nft.Dropped) (out []Spoofed) {
	for _, r := range records {
		if n := d.Spoofed[r.Identity()]; n >= minSpoofed {
			x := Spoofed{Owner: OwnerOf(r.Attachment), Addresses: r.Addresses, Packets: n}
			if len(r.Links) > 0 {
				x.Link = r.Links[0]
			}
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b Spoofed) int { return cmp.Compare(b.Packets, a.Packets) })
	return out
}

// evaluateSpoofed reports attachments that sent packets with a source that is not their own.
func (n *Node) evaluateSpoofed() {
	for _, x := range n.Spoofed {
		var addresses, filter []string
		for _, a := range x.Addresses {
			addresses = append(addresses, a.String())
			filter = append(filter, "not src host "+a.String())
		}
		id := x.Key().Identity()
		c := Cause{
			Evidence: []Evidence{
				{"counter of " + id + " in set links of table inet masq", Plural(x.Packets, "packet")},
				{"addresses of " + id, strings.Join(addresses, ", ")},
			},
			Attachments: []string{id},
			Remedy:      Remedy{Text: "find the program in the container that sends them"},
		}
		if x.Link != "" {
			c.Remedy.Commands = []string{"tcpdump -n -Q in -i " + ShellQuote(x.Link) + " " + strings.Join(filter, " and ")}
		}
		n.Report(NewProblem(
			SeverityWarning, KindSpoofed, CleanText(x.Pod()),
			fmt.Sprintf("sent %s with a source that is not its own since its rules were made; the rules dropped them", Plural(x.Packets, "packet")), c,
		))
	}
}
