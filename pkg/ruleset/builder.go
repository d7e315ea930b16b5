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

type builder struct {
	sources  Sources
	egress   Egress
	shared   map[*masq.Policy]shared
	policies map[string]masq.Policy // by ID
	clamps   map[int]bool           // in bytes, of policies that set a fixed MSS
	objects  map[string]Object      // by name
	live     map[string][]member    // by the set's name
	elements []LiveElement          // the result of Live; For fills live
	put      func(set string, m member)
}

// shared is the part of a policy that all its attachments share.
type shared struct {
	chain string
	clamp map[masq.Family]string // names of sets; empty if the policy does not clamp
	// attached has names of sets; empty if the MSS does not depend on the destination.
	attached map[masq.Family]string
	helpers  []masq.Helper // without the helpers of masqd
}

// member is an element of a live set, with the parts of its key, by which elements are
// sorted.
type member struct {
	link string
	addr netip.Addr
	port uint16
	Element
}

func newBuilder(s Sources) *builder {
	b := &builder{
		sources:  s,
		shared:   map[*masq.Policy]shared{},
		policies: map[string]masq.Policy{},
		clamps:   map[int]bool{},
		objects:  map[string]Object{},
		live:     map[string][]member{},
	}
	b.put = func(set string, m member) { b.live[set] = append(b.live[set], m) }
	if len(s.Prefixes) > 0 {
		b.policies[s.Policy.ID()] = s.Policy
		for _, h := range s.Policy.KernelHelpers() {
			if kind, ok := masq.HelperKindOf(h.Name); ok {
				for _, how := range kind.Assign {
					o := HelperObject(kind, how)
					b.objects[o.Name] = o
				}
			}
		}
	}
	return b
}

// add puts the addresses of an attachment into the sets. An address that the attachment
// does not own is put only into the sets of links and sources.
func (b *builder) add(a masq.Attachment, owns func(netip.Addr) bool) {
	p := *a.Policy
	// Thousands of attachments may share a policy, and computing its ID takes a digest.
	u, ok := b.shared[a.Policy]
	if !ok {
		id := p.ID()
		u.chain = PolicyChain(p)
		b.policies[id] = p
		if n := p.MSSClamp.Bytes(); n != 0 {
			b.clamps[n] = true
		}
		if !p.MSSClamp.Off() {
			u.clamp = map[masq.Family]string{}
			for _, f := range masq.Families {
				u.clamp[f] = SetName{ClampSet, f, p.MSSClamp.String()}.String()
			}
		}
		if p.HasMSSClamps() {
			u.attached = map[masq.Family]string{}
			for _, f := range masq.Families {
				u.attached[f] = SetName{AttachedSet, f, id}.String()
			}
		}
		u.helpers = p.KernelHelpers()
		b.shared[a.Policy] = u
	}
	identity := a.Identity()
	var link string
	if a.SpoofCheck {
		link = strconv.Quote(a.HostName()) // the name of the host's end, which contains a digest
		b.put(string(LinkSet), member{link: link, Element: Element{Key: link, Comment: identity}})
	}
	for _, addr := range a.Addresses {
		f, text := masq.FamilyOf(addr), addr.String()
		if a.SpoofCheck {
			b.put(addressSets[f].sources, member{link, addr, 0, Element{Key: sourceKey(link, addr), Comment: identity}})
		}
		put := b.put
		if !owns(addr) {
			put = func(string, member) {}
		}
		put(addressSets[f].policy, member{"", addr, 0, Element{Key: text, Goto: u.chain, Comment: identity}})
		for _, set := range []string{u.clamp[f], u.attached[f]} {
			if set != "" {
				put(set, member{"", addr, 0, Element{Key: text}})
			}
		}
		if a.SpoofCheck && !p.AcceptOtherLinks {
			put(addressSets[f].linked, member{"", addr, 0, Element{Key: text}})
		}
		if p.EgressDirect {
			continue // the pod opted out: it is not translated, so no packet of it can leak
		}
		if p.DropInvalid {
			put(addressSets[f].invalid, member{"", addr, 0, Element{Key: text}})
		}
		if len(u.helpers) > 0 {
			put(addressSets[f].helped, member{"", addr, 0, Element{Key: text}})
		}
		for _, h := range u.helpers {
			kind, ok := masq.HelperKindOf(h.Name)
			if !ok {
				continue // a validated policy has only known helpers
			}
			for _, how := range kind.Assign {
				if how.IPv4Only && !addr.Is4() {
					continue
				}
				o := HelperObject(kind, how)
				b.objects[o.Name] = o
				set := SetName{HelperSet, f, o.Name}.String()
				for _, port := range h.Ports {
					put(set, member{"", addr, port, Element{Key: helperKey(addr, port)}})
				}
			}
		}
	}
}

// addressSets has the names of the sets that any attachment may be in.
var addressSets = map[masq.Family]struct{ policy, sources, linked, invalid, helped string }{
	masq.IPv4: addressSetsOf(masq.IPv4),
	masq.IPv6: addressSetsOf(masq.IPv6),
}

func addressSetsOf(f masq.Family) struct{ policy, sources, linked, invalid, helped string } {
	return struct{ policy, sources, linked, invalid, helped string }{
		PolicySet.Of(f), SourceSet.Of(f), LinkedSet.Of(f), InvalidSet.Of(f), HelpedSet.Of(f),
	}
}

func sortMembers(all []member) {
	slices.SortStableFunc(all, func(x, y member) int {
		return cmp.Or(strings.Compare(x.link, y.link), x.addr.Compare(y.addr), cmp.Compare(x.port, y.port))
	})
}

// liveSet returns a live set with its elements in the order of the kernel's bytes.
func (b *builder) liveSet(n SetName) Set {
	s := n.Set()
	all := b.live[s.Name]
	sortMembers(all)
	if len(all) > 0 {
		s.Elements = make([]Element, 0, len(all))
	}
	for i, m := range all {
		if i+1 < len(all) && m.Key == all[i+1].Key {
			continue // the next element is of a later attachment, which owns the key
		}
		s.Elements = append(s.Elements, m.Element)
	}
	return s
}

// narrowed returns the IDs of the policies whose MSS depends on the destination, sorted.
func (b *builder) narrowed() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(b.policies)) {
		if b.policies[id].HasMSSClamps() {
			out = append(out, id)
		}
	}
	return out
}

func (b *builder) table() Table {
	var t Table
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		t.Objects = append(t.Objects, b.objects[name])
	}
	clamps := []string{masq.ClampPMTU.String()}
	for _, n := range slices.Sorted(maps.Keys(b.clamps)) {
		clamps = append(clamps, fmt.Sprint(n))
	}
	for _, f := range masq.Families {
		for _, k := range []SetKind{PolicySet, SourceSet, LinkedSet, InvalidSet, HelpedSet} {
			t.Sets = append(t.Sets, b.liveSet(SetName{Kind: k, Family: f}))
		}
		for _, c := range clamps {
			t.Sets = append(t.Sets, b.liveSet(SetName{ClampSet, f, c}))
		}
		for _, o := range t.Objects {
			if o.IPv4Only && f != masq.IPv4 {
				continue
			}
			t.Sets = append(t.Sets, b.liveSet(SetName{HelperSet, f, o.Name}))
		}
	}
	t.Sets = append(t.Sets, reservedSet(b.egress.Reserved), b.liveSet(SetName{Kind: LinkSet}), neverSet())

	if len(b.sources.Prefixes) > 0 {
		t.Sets = append(t.Sets, b.sources.sets()...)
	}
	t.Chains = append(t.Chains, preroutingEarly(), sources())
	t.Chains = append(t.Chains, prerouting(t.Objects)...)
	t.Chains = append(t.Chains, expected(t.Objects, b.sources), announced(t.Objects), following(t.Objects, b.sources),
		preroutingNAT(), origin(), helpers(t.Objects, b.sources), forward(), exceptional(),
		clamp(clamps, b.narrowed(), b.sources), invalid(b.sources), related(), postrouting(b.sources))
	for _, id := range slices.Sorted(maps.Keys(b.policies)) {
		p := b.policies[id]
		if p.HasMSSClamps() {
			t.Sets = append(t.Sets, mssMaps(p)...)
			for _, f := range masq.Families {
				t.Sets = append(t.Sets, b.liveSet(SetName{AttachedSet, f, id}))
			}
		}
		t.Chains = append(t.Chains, policyChain(p, b.egress))
		if !p.EgressDirect {
			t.Sets = append(t.Sets, directSets(p)...)
		}
	}
	return t
}
