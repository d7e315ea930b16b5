package report

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// Uplink is an interface through which a default route leaves, and the address that
// packets get which are masqueraded there. The address is left out if the interface has
// no such address.
type Uplink struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address,omitzero"`
}

// String is the uplink in one line.
func (u Uplink) String() string {
	switch {
	case !u.Address.IsValid():
		return Clean(u.Interface) + ", without an address"
	case u.linkLocal():
		return fmt.Sprintf("%s %s, link-local", Clean(u.Interface), u.Address)
	}
	return fmt.Sprintf("%s %s", Clean(u.Interface), u.Address)
}

func (u Uplink) linkLocal() bool { return u.Address.Is6() && u.Address.IsLinkLocalUnicast() }

// judgeUplinks reports uplinks that masqueraded packets cannot leave through with an
// address that answers find.
func (n *Node) judgeUplinks(records []store.Record) {
	if !slices.ContainsFunc(records, func(r store.Record) bool { return r.Policy != nil }) {
		return
	}
	v6 := slices.ContainsFunc(records, func(r store.Record) bool {
		return r.Policy != nil && slices.ContainsFunc(r.Addresses, netip.Addr.Is6)
	})
	for _, u := range n.Uplinks {
		switch {
		case !u.Address.IsValid():
			n.Report(Problem{
				SeverityWarning, KindUplinkAddress, "uplink " + Sentence(u.Interface),
				"has no address: the kernel drops packets that would be masqueraded there",
				"give it an address: ip address add ADDRESS dev " + shellQuote(u.Interface) + "; or name one in snatAddresses",
			})
		case v6 && u.linkLocal():
			n.Report(Problem{
				SeverityWarning, KindUplinkAddress, "uplink " + Sentence(u.Interface),
				fmt.Sprintf("has no global IPv6 address: packets leave with the link-local source %s and get no answer", u.Address),
				"give the node a global address: ip -6 address add ADDRESS dev " + shellQuote(u.Interface) + "; or name one in snatAddresses",
			})
		}
	}
}
