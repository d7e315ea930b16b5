package ruleset

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Egress is the part of a ruleset that follows the node's state: the egress addresses and
// ports that flows can use.
type Egress struct {
	// Addresses are the egress addresses that policies name and that the node has. Replies
	// to other addresses would not reach the node.
	Addresses map[netip.Addr]bool
	// Reserved are the ports that are reserved for the node's services, ascending.
	Reserved []masq.PortRange
}

// Equal reports whether both have the same addresses and ports.
func (e Egress) Equal(o Egress) bool {
	return maps.Equal(e.Addresses, o.Addresses) && slices.Equal(e.Reserved, o.Reserved)
}

// NamedEgress returns the egress addresses that policies name and do not declare as routed
// to the node, sorted. Flows use each of them only while the node has it.
func NamedEgress(attachments []masq.Attachment, sources Sources) []netip.Addr {
	var out []netip.Addr
	seen := map[*masq.Policy]bool{}
	add := func(p *masq.Policy) {
		if p == nil || seen[p] || p.EgressDirect {
			return
		}
		seen[p] = true
		for _, a := range p.SNATAddresses {
			if !slices.Contains(p.SNATRouted, a) {
				out = append(out, a)
			}
		}
	}
	for _, a := range attachments {
		add(a.Policy)
	}
	if len(sources.Prefixes) > 0 {
		add(&sources.Policy)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// EgressOf returns an Egress with the named addresses for which has returns true. It fails
// if has fails: the ruleset cannot be made without knowing the addresses.
func EgressOf(named []netip.Addr, has func(netip.Addr) (bool, error)) (Egress, error) {
	out := Egress{Addresses: map[netip.Addr]bool{}}
	for _, a := range named {
		switch ok, err := has(a); {
		case err != nil:
			return Egress{}, err
		case ok:
			out.Addresses[a] = true
		}
	}
	return out, nil
}

// Of returns the egress addresses of a family that flows of a policy can use: the node has
// them, or the policy declares them as routed to the node.
func (e Egress) Of(p masq.Policy, f masq.Family) []netip.Addr {
	return slices.DeleteFunc(p.SNATAddressesOf(f), func(a netip.Addr) bool {
		return !e.Addresses[a] && !slices.Contains(p.SNATRouted, a)
	})
}

// MissingEgress is an egress address that a policy names and the node does not have.
type MissingEgress struct {
	Policy  string // ID
	Address netip.Addr
	// Dropped says that flows of the family are dropped: the policy has no other address
	// of the family.
	Dropped bool
	// Unused says that the policy has no other address of the family and no source of it:
	// no flows are dropped.
	Unused bool
}

// FamiliesOf returns the families of the sources of each policy, by the policy's ID.
func FamiliesOf(attachments []masq.Attachment, sources Sources) map[string]map[masq.Family]bool {
	out := map[string]map[masq.Family]bool{}
	known := map[*masq.Policy]map[masq.Family]bool{}
	of := func(p *masq.Policy) map[masq.Family]bool {
		if known[p] == nil {
			id := p.ID()
			if out[id] == nil {
				out[id] = map[masq.Family]bool{}
			}
			known[p] = out[id]
		}
		return known[p]
	}
	for _, a := range attachments {
		if a.Policy == nil {
			continue
		}
		for _, x := range a.Addresses {
			of(a.Policy)[masq.FamilyOf(x)] = true
		}
	}
	for _, x := range sources.Prefixes {
		of(&sources.Policy)[masq.FamilyOf(x.Addr())] = true
	}
	return out
}

// Missing returns the egress addresses that a policy names and that its flows cannot use,
// IPv4 first. inUse has the families of the policy's sources.
func (e Egress) Missing(p masq.Policy, inUse map[masq.Family]bool) []MissingEgress {
	if p.EgressDirect {
		return nil
	}
	var out []MissingEgress
	for _, f := range masq.Families {
		usable := e.Of(p, f)
		for _, a := range p.SNATAddressesOf(f) {
			if !slices.Contains(usable, a) {
				none := len(usable) == 0
				out = append(out, MissingEgress{p.ID(), a, none && inUse[f], none && !inUse[f]})
			}
		}
	}
	return out
}
