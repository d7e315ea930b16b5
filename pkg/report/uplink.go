package report

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// Uplink is an interface of a default route, and the address to which packets are
// masqueraded there. The address is omitted if the interface has none.
type Uplink struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address,omitzero"`
}

// String returns interface and address.
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

// evaluateUplinks reports uplinks without an address, or with only a link-local IPv6 address:
// replies to masqueraded packets do not arrive there.
func (n *Node) evaluateUplinks(records []store.Record) {
	if !slices.ContainsFunc(records, func(r store.Record) bool { return r.Policy != nil }) {
		return
	}
	v6 := slices.ContainsFunc(records, func(r store.Record) bool {
		return r.Policy != nil && slices.ContainsFunc(r.Addresses, netip.Addr.Is6)
	})
	for _, u := range n.Uplinks {
		switch {
		case !u.Address.IsValid():
			n.Report(NewProblem(
				SeverityWarning, KindUplinkAddress, "uplink "+CleanText(u.Interface),
				"has no address: the kernel drops packets that would be masqueraded there",
				Cause{
					Evidence: []Evidence{{"source address of the default route of " + u.Interface, "none"}},
					Remedy:   Remedy{"name an address in snatAddresses, or give the interface one", []string{"ip address add ADDRESS dev " + ShellQuote(u.Interface)}},
				},
			))
		case v6 && u.linkLocal():
			n.Report(NewProblem(
				SeverityWarning, KindUplinkAddress, "uplink "+CleanText(u.Interface),
				fmt.Sprintf("has no global IPv6 address: packets leave with the link-local source %s and get no answer", u.Address),
				Cause{
					Evidence: []Evidence{{"source address of the default route of " + u.Interface, u.Address.String()}},
					Remedy:   Remedy{"name an address in snatAddresses, or give the node a global one", []string{"ip -6 address add ADDRESS dev " + ShellQuote(u.Interface)}},
				},
			))
		}
	}
}
