package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"sort"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// flowScope is the attachments and sources whose flows are searched.
type flowScope struct {
	origins []origin
	sources ruleset.Sources
}

// origin is an attachment and its active policy. Without a policy its flows are not deleted.
type origin struct {
	record *store.Record
	policy *masq.Policy
}

func (s flowScope) isEmpty() bool { return len(s.origins) == 0 && len(s.sources.Prefixes) == 0 }

// deleteUntranslated deletes flows that are not translated although their destination is
// not direct. The kernel decides at the first packet of a flow whether to translate it. So a
// flow that began while rules were missing would leave with its private address until it
// ends. After its deletion the next packet begins a new flow, which is translated.
// Translated flows and flows of the node itself stay.
func (l *Loop) deleteUntranslated(ctx context.Context, scope flowScope) (int, error) {
	return l.deleteFlows(ctx, scope, 0, func(f *conntrack.Flow, d *directDestinations, local *localAddresses) bool {
		to := f.Reply.Src // the final destination, if a rule translated it
		return !d.has(to) && !local.has(to)
	})
}

// deleteEgressRemoved deletes flows whose egress address was removed from the node: their
// replies no longer arrive here. Flows with an address that the node has again stay.
func (l *Loop) deleteEgressRemoved(ctx context.Context, scope flowScope, removed []netip.Addr) (int, error) {
	return l.deleteFlows(ctx, scope, conntrack.SrcNAT, func(f *conntrack.Flow, _ *directDestinations, local *localAddresses) bool {
		egress := f.Reply.Dst
		return slices.Contains(removed, egress) && !local.has(egress)
	})
}

// deleteFlows deletes flows from the attachments and sources of a scope that match accepts.
// status is SrcNAT for translated flows, and 0 for others. Flows of the node itself stay.
func (l *Loop) deleteFlows(ctx context.Context, scope flowScope, status conntrack.Status, match func(*conntrack.Flow, *directDestinations, *localAddresses) bool) (int, error) {
	find := newDirectFinder(scope)
	local := &localAddresses{host: l.deps.Host, known: map[netip.Addr]bool{}}
	n, err := l.deps.DeleteFlows(ctx, conntrack.Filter{Status: status, StatusMask: conntrack.SrcNAT}, func(f *conntrack.Flow) bool {
		d := find.directOf(f.Original.Src)
		return d != nil && match(f, d, local) && !local.has(f.Original.Src)
	})
	if err == nil {
		err = local.err
	}
	return n, err
}

// localAddresses caches which addresses the node has, for one search.
type localAddresses struct {
	host  Host
	known map[netip.Addr]bool
	err   error
}

// has reports whether the node has an address. If the lookup fails it returns true, so
// that the flow stays.
func (l *localAddresses) has(a netip.Addr) bool {
	known, ok := l.known[a]
	if !ok {
		var err error
		if known, err = l.host.HasAddress(a); err != nil {
			l.err = err
			return true
		}
		l.known[a] = known
	}
	return known
}

// directFinder finds the direct destinations of a source address.
type directFinder struct {
	attachments map[netip.Addr]*directDestinations // nil: the policy translates none of its flows
	ranges      map[masq.Family][]masq.AddrRange   // source prefixes
	sources     *directDestinations
}

func newDirectFinder(s flowScope) directFinder {
	p := directFinder{attachments: map[netip.Addr]*directDestinations{}}
	made := map[*masq.Policy]*directDestinations{}
	for _, o := range s.origins {
		if o.policy == nil {
			continue
		}
		d, ok := made[o.policy]
		if !ok {
			if !o.policy.EgressDirect {
				d = newDirect(*o.policy)
			}
			made[o.policy] = d
		}
		for _, addr := range o.record.Addresses {
			p.attachments[addr] = d
		}
	}
	if len(s.sources.Prefixes) > 0 && !s.sources.Policy.EgressDirect {
		p.sources = newDirect(s.sources.Policy)
		p.ranges = map[masq.Family][]masq.AddrRange{}
		for _, f := range masq.Families {
			p.ranges[f] = masq.Union(s.sources.Prefixes, f)
		}
	}
	return p
}

// directOf returns the direct destinations of a source, or nil if no policy translates it.
func (p directFinder) directOf(source netip.Addr) *directDestinations {
	if d, ok := p.attachments[source]; ok {
		return d
	}
	if p.sources != nil && contains(p.ranges[masq.FamilyOf(source)], source) {
		return p.sources
	}
	return nil
}

// directDestinations are the direct destinations of a policy, as sorted ranges.
type directDestinations struct {
	ranges map[masq.Family][]masq.AddrRange
}

func newDirect(p masq.Policy) *directDestinations {
	d := &directDestinations{map[masq.Family][]masq.AddrRange{}}
	for _, f := range masq.Families {
		d.ranges[f] = p.DirectRanges(f)
	}
	return d
}

func (d *directDestinations) has(a netip.Addr) bool { return contains(d.ranges[masq.FamilyOf(a)], a) }

// contains reports whether sorted, disjoint ranges contain an address.
func contains(ranges []masq.AddrRange, a netip.Addr) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].Last.Compare(a) >= 0 })
	return i < len(ranges) && ranges[i].First.Compare(a) <= 0
}
