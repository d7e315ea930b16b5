package ruleset

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// The rules for masqd's helpers are in a separate table, inet masq-helpers. It redirects control
// connections of clients to masqd, applies the client's policy to masqd's connections to the
// servers, and lets in the flows that were announced. The kernel deletes the table when masqd
// ends, and control connections reach their servers without a helper.
//
// As in the other table, the number of rules follows the number of different policies. Chains
// of type nat see only the first packet of each flow, so established flows pay nothing.

// Listeners are the addresses and ports of a family at which masqd accepts redirected flows.
// The zero value of each says that masqd does not listen: then nothing is redirected.
type Listeners struct {
	TCP, UDP netip.AddrPort
}

// of returns the address and port for a transport protocol.
func (l Listeners) of(protocol string) netip.AddrPort {
	if protocol == "tcp" {
		return l.TCP
	}
	return l.UDP
}

// helperProtocols are the transport protocols of control connections.
var helperProtocols = []string{"tcp", "udp"}

// HelperTable returns the complete table for masqd's helpers. If neither an attachment nor
// sourceCIDRs have one, it returns a table without chains, which must not exist. If two
// attachments have the same address, it belongs to the later one.
//
// Elements of dynamic stay while their attachment has a policy.
func HelperTable(attachments []masq.Attachment, sources Sources, egress Egress, listeners map[masq.Family]Listeners, dynamic HelperElements) Table {
	b := helperBuilder{
		listeners:  listeners,
		policies:   map[string]masq.Policy{},
		redirected: map[string]bool{},
		elements:   map[string][]Element{},
	}
	if len(sources.Prefixes) > 0 && !sources.Policy.EgressDirect && len(sources.Policy.DaemonHelpers()) > 0 {
		b.sources = sources
		b.policies[sources.Policy.ID()], b.redirected[sources.Policy.ID()] = sources.Policy, true
	}
	b.add(attachments)
	if len(b.redirected) == 0 {
		return Table{Name: HelperTableName}
	}
	b.keep(attachments, dynamic)
	return b.table(egress)
}

type helperBuilder struct {
	sources    Sources // without prefixes if nothing of them is redirected
	listeners  map[masq.Family]Listeners
	policies   map[string]masq.Policy // by ID
	redirected map[string]bool        // policies with a chain that redirects, by ID
	elements   map[string][]Element   // by the set's name
}

// helperPort is a destination whose flows are redirected.
type helperPort struct {
	helper, protocol string
	number           uint16
	ipv4Only         bool
}

// daemonPorts returns the ports of a policy's helpers by masqd. A port that two helpers have
// is redirected once.
func daemonPorts(p masq.Policy) []helperPort {
	if p.EgressDirect {
		return nil // servers see the container's own address
	}
	var out []helperPort
	for _, h := range p.DaemonHelpers() {
		kind, _ := masq.HelperKindOf(h.Name)
		for _, protocol := range kind.Protocols() {
			for _, number := range h.Ports {
				x := helperPort{h.Name, protocol, number, kind.Assign[0].IPv4Only}
				if !slices.ContainsFunc(out, func(o helperPort) bool { return o.protocol == protocol && o.number == number }) {
					out = append(out, x)
				}
			}
		}
	}
	return out
}

// serves reports whether masqd listens for flows of a family to a port.
func (b *helperBuilder) serves(f masq.Family, x helperPort) bool {
	return (f == masq.IPv4 || !x.ipv4Only) && b.listeners[f].of(x.protocol).IsValid()
}

// add adds the attachments that have a helper, and to ApartSet all within sourceCIDRs.
func (b *helperBuilder) add(attachments []masq.Attachment) {
	type use struct {
		chain string
		ports []helperPort
	}
	uses := map[*masq.Policy]use{} // thousands of attachments may share a policy
	type place struct{ attachment, address int }
	owners := map[netip.Addr]place{}
	for i, a := range attachments {
		if a.Policy == nil {
			continue
		}
		if _, known := uses[a.Policy]; !known {
			u := use{ports: daemonPorts(*a.Policy)}
			if len(u.ports) > 0 {
				id := a.Policy.ID()
				u.chain = redirectChainPrefix + id
				b.policies[id], b.redirected[id] = *a.Policy, true
			}
			uses[a.Policy] = u
		}
		for j, addr := range a.Addresses {
			owners[addr] = place{i, j}
		}
	}
	for i, a := range attachments {
		if a.Policy == nil {
			continue
		}
		u, identity := uses[a.Policy], a.Identity()
		for j, addr := range a.Addresses {
			if owners[addr] != (place{i, j}) {
				continue
			}
			f := masq.FamilyOf(addr)
			for _, x := range u.ports {
				if !b.serves(f, x) {
					continue
				}
				key := HelperKey{Addr: netip.AddrPortFrom(addr, x.number), Proto: protocolNumbers[x.protocol]}
				b.put(RedirectMap, f, Element{Key: key.String(), Goto: u.chain, Comment: identity})
			}
			if slices.ContainsFunc(b.sources.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				b.put(ApartSet, f, Element{Key: addr.String()})
			}
		}
	}
}

// keep adds the elements of sessions. Spoken elements follow the current policy of their
// attachment.
func (b *helperBuilder) keep(attachments []masq.Attachment, dynamic HelperElements) {
	needed := map[string]bool{}
	for _, s := range dynamic.Spoken {
		needed[s.Identity] = true
	}
	for _, o := range dynamic.Opened {
		needed[o.Identity] = true
	}
	policies := map[string]*masq.Policy{} // by identity
	if len(b.sources.Prefixes) > 0 {
		policies[""] = &b.sources.Policy
	}
	for _, a := range attachments {
		if identity := a.Identity(); a.Policy != nil && needed[identity] {
			policies[identity] = a.Policy
		}
	}
	for _, s := range dynamic.Spoken {
		p := policies[s.Identity]
		if p == nil {
			continue
		}
		b.policies[p.ID()] = *p
		b.putAll(s.Elements(*p))
	}
	for _, o := range dynamic.Opened {
		if policies[o.Identity] != nil {
			b.putAll(o.Elements())
		}
	}
}

func (b *helperBuilder) put(kind SetKind, f masq.Family, e Element) {
	b.elements[kind.Of(f)] = append(b.elements[kind.Of(f)], e)
}

func (b *helperBuilder) putAll(s SetElements) {
	b.elements[s.Set.Name] = append(b.elements[s.Set.Name], s.Elements...)
}

// set returns a set with its elements. If several sessions have the same key, it has the last
// element; the keys of attachments are different.
func (b *helperBuilder) set(kind SetKind, f masq.Family) Set {
	s := SetName{Kind: kind, Family: f}.Set()
	all := b.elements[s.Name]
	if kind != SpokenMap && kind != OpenedMap {
		s.Elements = all
		return s
	}
	last := make(map[string]int, len(all))
	for i, e := range all {
		last[e.Key] = i
	}
	for i, e := range all {
		if last[e.Key] == i {
			s.Elements = append(s.Elements, e)
		}
	}
	return s
}

func (b *helperBuilder) table(egress Egress) Table {
	t := Table{Name: HelperTableName}
	kinds := []SetKind{ListenerSet, RedirectMap, SpokenMap, OpenedMap}
	if len(b.sources.Prefixes) > 0 {
		kinds = append(kinds, ApartSet)
	}
	for _, f := range families {
		for _, protocol := range helperProtocols {
			if l := b.listeners[f.family].of(protocol); l.IsValid() {
				b.put(ListenerSet, f.family, Element{Key: HelperKey{Addr: l, Proto: protocolNumbers[protocol]}.String()})
			}
		}
		for _, k := range kinds {
			t.Sets = append(t.Sets, b.set(k, f.family))
		}
	}
	if len(b.sources.Prefixes) > 0 {
		t.Sets = append(t.Sets, b.sources.sets()...)
	}
	t.Sets = append(t.Sets, reservedSet(egress.Reserved), neverSet())
	t.Chains = append(t.Chains, opened(), b.prerouting())
	if len(b.sources.Prefixes) > 0 {
		t.Chains = append(t.Chains, b.cidr())
	}
	t.Chains = append(t.Chains, services(), spoken())
	for _, id := range slices.Sorted(maps.Keys(b.policies)) {
		p := b.policies[id]
		if !p.EgressDirect {
			t.Sets = append(t.Sets, directSets(p)...)
		}
		if b.redirected[id] {
			t.Chains = append(t.Chains, b.redirect(id))
		}
		t.Chains = append(t.Chains, policyChain(p, egress))
	}
	return t
}
