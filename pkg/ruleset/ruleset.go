package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// PolicyChainPrefix is what the name of a policy's chain has before the policy's ID.
const PolicyChainPrefix = "policy-"

// PolicyChain is the name of the chain of a policy.
func PolicyChain(p masq.Policy) string { return PolicyChainPrefix + p.ID() }

// Sources are addresses that others wired, and the policy that they leave under.
type Sources struct {
	Prefixes []netip.Prefix
	Policy   masq.Policy
}

// For returns the complete ruleset for attachments, and for sources, if there are
// any, that are not attachments'. Attachments without a policy add nothing. Where
// two attachments claim one address, the later one has it. An egress address that a
// policy names is used if egress has it or the policy declares it as routed.
func For(attachments []masq.Attachment, sources Sources, egress Egress) Table {
	b := build(attachments, sources, nil)
	if last := b.duplicates(attachments); len(last) > 0 {
		b = build(attachments, sources, last)
	}
	b.egress = egress
	return b.table()
}

func build(attachments []masq.Attachment, sources Sources, last map[netip.Addr]int) *builder {
	b := newBuilder(sources)
	for i, a := range attachments {
		if a.Policy != nil {
			b.add(a, func(addr netip.Addr) bool {
				last, duplicate := last[addr]
				return !duplicate || last == i
			})
		}
	}
	return b
}

// duplicates returns the addresses that several attachments have, and which of these is
// the last: all that a packet meets by its address alone is the last one's.
func (b *builder) duplicates(attachments []masq.Attachment) map[netip.Addr]int {
	last := map[netip.Addr]int{}
	for _, f := range masq.Families {
		all := b.live[everyone[f].policy]
		sortMembers(all)
		for i := 1; i < len(all); i++ {
			if all[i].addr == all[i-1].addr {
				last[all[i].addr] = -1
			}
		}
	}
	if len(last) == 0 {
		return nil
	}
	for i, a := range attachments {
		for _, addr := range a.Addresses {
			if _, duplicate := last[addr]; duplicate && a.Policy != nil {
				last[addr] = i
			}
		}
	}
	return last
}

type builder struct {
	sources  Sources
	egress   Egress
	uses     map[*masq.Policy]use
	policies map[string]masq.Policy // by ID
	clamps   map[int]bool           // sizes in bytes that some policy sets
	helpers  map[string]assigned
	live     map[string][]member // by the set's name
	elements []LiveElement       // in place of live, where Live puts them there
	put      func(set string, m member)
}

// use is what attachments of one policy have in common.
type use struct {
	chain string
	clamp map[masq.Family]string // sets; empty where nothing is clamped
}

// member is an element of a live set, with what its key is made of.
type member struct {
	link string
	addr netip.Addr
	port uint16
	Element
}

// assigned is a helper in use, in one of the ways that the kernel offers it.
type assigned struct {
	kind masq.HelperKind
	how  masq.Assignment
}

func (h assigned) object() string { return h.kind.Name + "-" + h.how.Protocol }

func newBuilder(s Sources) *builder {
	b := &builder{
		sources:  s,
		uses:     map[*masq.Policy]use{},
		policies: map[string]masq.Policy{},
		clamps:   map[int]bool{},
		helpers:  map[string]assigned{},
		live:     map[string][]member{},
	}
	b.put = func(set string, m member) { b.live[set] = append(b.live[set], m) }
	if len(s.Prefixes) > 0 {
		b.policies[s.Policy.ID()] = s.Policy
		for _, h := range s.Policy.Helpers {
			if kind, ok := masq.HelperKindOf(h.Name); ok {
				for _, how := range kind.Assign {
					use := assigned{kind, how}
					b.helpers[use.object()] = use
				}
			}
		}
	}
	return b
}

// add puts an attachment's addresses into the sets. An address that it does not own
// goes into the set of links and sources only.
func (b *builder) add(a masq.Attachment, owns func(netip.Addr) bool) {
	p := *a.Policy
	// Thousands of attachments may share a policy, and an ID is a digest.
	u, ok := b.uses[a.Policy]
	if !ok {
		id := p.ID()
		u.chain = "policy-" + id
		b.policies[id] = p
		if n := p.MSSClamp.Bytes(); n != 0 {
			b.clamps[n] = true
		}
		if !p.MSSClamp.Off() {
			u.clamp = map[masq.Family]string{}
			for _, f := range masq.Families {
				u.clamp[f] = "clamp" + f.String() + "-" + p.MSSClamp.String()
			}
		}
		b.uses[a.Policy] = u
	}
	identity := a.Identity()
	var link string
	if a.SpoofCheck {
		link = strconv.Quote(a.HostName()) // a digest
		b.put(linkSet, member{link: link, Element: Element{Key: link, Comment: identity}})
	}
	for _, addr := range a.Addresses {
		f, text := masq.FamilyOf(addr), addr.String()
		if a.SpoofCheck {
			b.put(everyone[f].sources, member{link, addr, 0, Element{Key: link + " . " + text, Comment: identity}})
		}
		put := b.put
		if !owns(addr) {
			put = func(string, member) {}
		}
		put(everyone[f].policy, member{"", addr, 0, Element{Key: text, Goto: u.chain, Comment: identity}})
		if set := u.clamp[f]; set != "" {
			put(set, member{"", addr, 0, Element{Key: text}})
		}
		if a.SpoofCheck && !p.AcceptOtherLinks {
			put(everyone[f].linked, member{"", addr, 0, Element{Key: text}})
		}
		if p.EgressDirect {
			continue // its own address is meant to be seen: nothing leaks, nothing is translated
		}
		if p.DropInvalid {
			put(everyone[f].invalid, member{"", addr, 0, Element{Key: text}})
		}
		if len(p.Helpers) > 0 {
			put(helpedSets[f], member{"", addr, 0, Element{Key: text}})
		}
		for _, h := range p.Helpers {
			kind, ok := masq.HelperKindOf(h.Name)
			if !ok {
				continue // a validated policy has none
			}
			for _, how := range kind.Assign {
				if how.IPv4Only && !addr.Is4() {
					continue
				}
				use := assigned{kind, how}
				b.helpers[use.object()] = use
				for _, port := range h.Ports {
					put("helper"+f.String()+"-"+use.object(), member{"", addr, port, Element{Key: text + " . " + strconv.Itoa(int(port))}})
				}
			}
		}
	}
}

// linkSet is the set of the links whose sources are checked. Its elements count the
// packets that are dropped.
const linkSet = "links"

// everyone is the sets that any attachment may be in. linked has the addresses that are
// accepted from their own link only.
var everyone = map[masq.Family]struct{ policy, sources, linked, invalid string }{
	masq.IPv4: {"policy4", "sources4", "linked4", "invalid4"},
	masq.IPv6: {"policy6", "sources6", "linked6", "invalid6"},
}

var addressType = map[masq.Family]string{masq.IPv4: "ipv4_addr", masq.IPv6: "ipv6_addr"}

func sortMembers(all []member) {
	slices.SortStableFunc(all, func(x, y member) int {
		return cmp.Or(strings.Compare(x.link, y.link), x.addr.Compare(y.addr), cmp.Compare(x.port, y.port))
	})
}

// liveSet has its elements in the order of the kernel's bytes.
func (b *builder) liveSet(name, typ string) Set {
	all := b.live[name]
	sortMembers(all)
	s := Set{Name: name, Type: typ, Live: true}
	if len(all) > 0 {
		s.Elements = make([]Element, 0, len(all))
	}
	for i, m := range all {
		if i+1 < len(all) && m.Key == all[i+1].Key {
			continue // a later attachment has it
		}
		s.Elements = append(s.Elements, m.Element)
	}
	return s
}

func (b *builder) table() Table {
	var t Table
	for _, name := range slices.Sorted(maps.Keys(b.helpers)) {
		h := b.helpers[name]
		t.Objects = append(t.Objects, Object{Name: name, Kernel: h.how.Kernel, Protocol: h.how.Protocol, IPv4Only: h.how.IPv4Only, Module: h.kind.Module})
	}
	clamps := []string{masq.ClampPMTU.String()}
	for _, n := range slices.Sorted(maps.Keys(b.clamps)) {
		clamps = append(clamps, fmt.Sprint(n))
	}
	for _, f := range masq.Families {
		typ := addressType[f]
		policy := b.liveSet("policy"+f.String(), typ)
		policy.Verdict, policy.Counter = true, true
		linked := b.liveSet(everyone[f].linked, typ)
		linked.Counter = true
		invalid := b.liveSet("invalid"+f.String(), typ)
		invalid.Counter = true
		t.Sets = append(t.Sets, policy, b.liveSet("sources"+f.String(), "ifname . "+typ), linked, invalid, b.liveSet(helpedSets[f], typ))
		for _, c := range clamps {
			t.Sets = append(t.Sets, b.liveSet("clamp"+f.String()+"-"+c, typ))
		}
		for _, o := range t.Objects {
			if o.IPv4Only && f != masq.IPv4 {
				continue
			}
			t.Sets = append(t.Sets, b.liveSet("helper"+f.String()+"-"+o.Name, typ+" . inet_service"))
		}
	}
	t.Sets = append(t.Sets, reservedSet(b.egress.Reserved))
	links := b.liveSet(linkSet, "ifname")
	links.Counter = true
	t.Sets = append(t.Sets, links, Set{Name: "never", Type: "fib_addrtype", Elements: []Element{
		{Key: "local"}, {Key: "broadcast"}, {Key: "anycast"}, {Key: "multicast"},
	}})

	if len(b.sources.Prefixes) > 0 {
		t.Sets = append(t.Sets, b.sources.sets()...)
	}
	t.Chains = append(t.Chains, preroutingEarly(), sources())
	t.Chains = append(t.Chains, prerouting(t.Objects)...)
	t.Chains = append(t.Chains, expected(t.Objects, b.sources), announced(t.Objects), following(t.Objects, b.sources),
		preroutingNAT(), origin(), helpers(t.Objects, b.sources), forward(), exceptional(),
		clamp(clamps, b.sources), invalid(b.sources), related(), postrouting(b.sources))
	for _, id := range slices.Sorted(maps.Keys(b.policies)) {
		p := b.policies[id]
		t.Chains = append(t.Chains, policyChain(p, b.egress))
		if !p.EgressDirect {
			t.Sets = append(t.Sets, directSets(p)...)
		}
	}
	return t
}
