package ruleset

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// PolicyChain is the name of the chain of a policy.
func PolicyChain(p masq.Policy) string { return "policy-" + p.ID() }

// Sources are addresses that others wired, and the policy that they leave under.
type Sources struct {
	Prefixes []netip.Prefix
	Policy   masq.Policy
}

// For returns the complete ruleset for attachments, and for sources, if there are
// any, that are not attachments'. Attachments without a policy add nothing. Where
// two attachments claim one address, the later one has it.
func For(attachments []masq.Attachment, sources Sources) Table {
	b := newBuilder(sources)
	for _, a := range attachments {
		if a.Policy != nil {
			b.add(a)
		}
	}
	return b.table()
}

type builder struct {
	sources  Sources
	ids      map[*masq.Policy]string
	policies map[string]masq.Policy // by ID
	clamps   map[int]bool           // sizes in bytes that some policy sets
	helpers  map[string]assigned
	live     map[string]map[string]Element // set name -> key -> element
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
		ids:      map[*masq.Policy]string{},
		policies: map[string]masq.Policy{},
		clamps:   map[int]bool{},
		helpers:  map[string]assigned{},
		live:     map[string]map[string]Element{},
	}
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

func (b *builder) add(a masq.Attachment) {
	p := *a.Policy
	// Thousands of attachments may share a policy, and an ID is a digest.
	id, ok := b.ids[a.Policy]
	if !ok {
		id = p.ID()
		b.ids[a.Policy] = id
		b.policies[id] = p
		if n := p.MSSClamp.Bytes(); n != 0 {
			b.clamps[n] = true
		}
	}
	identity, host := a.Identity(), a.HostName()
	for _, addr := range a.Addresses {
		f, text := masq.FamilyOf(addr).String(), addr.String()
		b.put("policy"+f, Element{Key: text, Goto: "policy-" + id, Comment: identity})
		if a.SpoofCheck {
			b.put("sources"+f, Element{Key: fmt.Sprintf("%q . %s", host, text), Comment: identity})
		}
		if !p.MSSClamp.Off() {
			b.put("clamp"+f+"-"+p.MSSClamp.String(), Element{Key: text})
		}
		if p.EgressDirect {
			continue // its own address is meant to be seen: nothing leaks, nothing is translated
		}
		if p.DropInvalid {
			b.put("invalid"+f, Element{Key: text})
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
					b.put("helper"+f+"-"+use.object(), Element{Key: fmt.Sprintf("%s . %d", text, port)})
				}
			}
		}
	}
}

func (b *builder) put(set string, e Element) {
	if b.live[set] == nil {
		b.live[set] = map[string]Element{}
	}
	b.live[set][e.Key] = e
}

var addressType = map[masq.Family]string{masq.IPv4: "ipv4_addr", masq.IPv6: "ipv6_addr"}

func (b *builder) liveSet(name, typ string) Set {
	elements := b.live[name]
	keys := slices.Sorted(maps.Keys(elements))
	s := Set{Name: name, Type: typ, Live: true}
	for _, k := range keys {
		s.Elements = append(s.Elements, elements[k])
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
		t.Sets = append(t.Sets,
			policy,
			b.liveSet("sources"+f.String(), "ifname . "+typ),
			b.liveSet("invalid"+f.String(), typ))
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
	t.Sets = append(t.Sets, Set{Name: "never", Type: "fib_addrtype", Elements: []Element{
		{Key: "local"}, {Key: "broadcast"}, {Key: "anycast"}, {Key: "multicast"},
	}})

	if len(b.sources.Prefixes) > 0 {
		t.Sets = append(t.Sets, b.sources.sets()...)
	}
	t.Chains = append(t.Chains, prerouting(t.Objects), sources(), helpers(t.Objects, b.sources), forward(),
		clamp(clamps, b.sources), invalid(b.sources), postrouting(b.sources))
	for _, id := range slices.Sorted(maps.Keys(b.policies)) {
		p := b.policies[id]
		t.Chains = append(t.Chains, policyChain(p))
		if !p.EgressDirect {
			t.Sets = append(t.Sets, directSets(p)...)
		}
	}
	return t
}
