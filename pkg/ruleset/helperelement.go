package ruleset

import (
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// HelperElements are the elements that sessions of masqd's helpers added. A new table keeps
// them.
type HelperElements struct {
	Spoken []Spoken
	Opened []Opened
}

// Spoken is an address and port of masqd from which it speaks to a server for a client.
type Spoken struct {
	Identity string // the client's attachment; "" if the client is within sourceCIDRs
	Local    netip.AddrPort
	Proto    uint8 // IPPROTO_TCP or IPPROTO_UDP
}

// Elements returns the element with which the policy of the client applies to masqd. The
// table must have the policy's chain.
func (s Spoken) Elements(policy masq.Policy) SetElements { return s.elements(PolicyChain(policy)) }

func (s Spoken) elements(chain string) SetElements {
	return SetElements{
		SetName{Kind: SpokenMap, Family: masq.FamilyOf(s.Local.Addr())}.Set(),
		[]Element{{Key: SpokenKey(s.Local, s.Proto), Goto: chain, Comment: s.Identity}},
	}
}

// Opened is an address and port of the node at which a peer reaches a client.
type Opened struct {
	Identity string // the client's attachment; "" if the client is within sourceCIDRs
	Egress   netip.AddrPort
	Proto    uint8 // IPPROTO_TCP or IPPROTO_UDP
	Peer     netip.Addr
	Client   netip.AddrPort // or the address and port of masqd, of the same family
	Timeout  time.Duration  // until the kernel deletes the element
}

// Elements returns the element that redirects the peer's flows to the client.
func (o Opened) Elements() SetElements {
	return SetElements{
		SetName{Kind: OpenedMap, Family: masq.FamilyOf(o.Egress.Addr())}.Set(),
		[]Element{{Key: OpenedKey(o.Egress, o.Proto, o.Peer), Data: OpenedData(o.Client), Timeout: o.Timeout, Comment: o.Identity}},
	}
}
