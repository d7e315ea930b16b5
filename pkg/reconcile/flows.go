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

// Flows deletes flows that cannot be what they should: the next packet of each
// begins it anew, under the rules that are there by then.
type Flows struct {
	// Local reports whether an address is the node's own.
	Local func(netip.Addr) (bool, error)
	// Delete deletes the flows that match says so of, and returns how many.
	Delete func(ctx context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (int, error)
}

// Whose says which flows are looked at: those of attachments, and those of sources.
type Whose struct {
	Origins []Origin
	Sources ruleset.Sources
}

// Origin is what decides about the flows of an attachment.
type Origin struct {
	Record *store.Record
	Policy *masq.Policy // the active one; nil leaves flows alone
}

func (w Whose) none() bool { return len(w.Origins) == 0 && len(w.Sources.Prefixes) == 0 }

// Untranslated deletes the flows that are not translated and should be: those to
// destinations that are not direct. The kernel decides with a flow's first packet:
// one that began while its rules were missing would leave with its private address
// for its whole life. Flows that are translated are not touched, nor are flows that
// the node itself began.
func (f Flows) Untranslated(ctx context.Context, whose Whose) (int, error) {
	owners := ownersOf(whose)
	local := f.locals()
	n, err := f.Delete(ctx, conntrack.Filter{StatusMask: conntrack.SrcNAT}, func(x *conntrack.Flow) bool {
		d := owners.of(x.Original.Src)
		if d == nil {
			return false
		}
		// Where the destination was translated, the reply comes from the one that
		// counts.
		to := x.Reply.Src
		return !d.has(to) && !local.has(to) && !local.has(x.Original.Src)
	})
	if err == nil {
		err = local.err
	}
	return n, err
}

// EgressRemoved deletes the flows that left with one of the egress addresses that are
// gone: what is sent to it does not come back here. Those of the node that are left
// are not touched.
func (f Flows) EgressRemoved(ctx context.Context, whose Whose, gone []netip.Addr) (int, error) {
	owners := ownersOf(whose)
	local := f.locals()
	n, err := f.Delete(ctx, conntrack.Filter{Status: conntrack.SrcNAT, StatusMask: conntrack.SrcNAT}, func(x *conntrack.Flow) bool {
		egress := x.Reply.Dst
		return slices.Contains(gone, egress) && owners.of(x.Original.Src) != nil && !local.has(egress) && !local.has(x.Original.Src)
	})
	if err == nil {
		err = local.err
	}
	return n, err
}

// locals remembers what was asked for.
type locals struct {
	ask   func(netip.Addr) (bool, error)
	known map[netip.Addr]bool
	err   error
}

func (f Flows) locals() *locals { return &locals{ask: f.Local, known: map[netip.Addr]bool{}} }

// has reports whether an address is the node's own. One that cannot be asked for
// counts as such: its flows are left alone.
func (l *locals) has(a netip.Addr) bool {
	known, ok := l.known[a]
	if !ok {
		var err error
		if known, err = l.ask(a); err != nil {
			l.err = err
			return true
		}
		l.known[a] = known
	}
	return known
}

// owners finds what is direct for an address.
type owners struct {
	attachments map[netip.Addr]*direct           // nil: it leaves as it is, whatever else
	ranges      map[masq.Family][]masq.AddrRange // of the sources
	sources     *direct
}

func ownersOf(w Whose) owners {
	o := owners{attachments: map[netip.Addr]*direct{}}
	made := map[*masq.Policy]*direct{}
	for _, a := range w.Origins {
		if a.Policy == nil {
			continue
		}
		d, ok := made[a.Policy]
		if !ok {
			if !a.Policy.EgressDirect {
				d = newDirect(*a.Policy)
			}
			made[a.Policy] = d
		}
		for _, addr := range a.Record.Addresses {
			o.attachments[addr] = d
		}
	}
	if len(w.Sources.Prefixes) > 0 && !w.Sources.Policy.EgressDirect {
		o.sources = newDirect(w.Sources.Policy)
		o.ranges = map[masq.Family][]masq.AddrRange{}
		for _, f := range masq.Families {
			o.ranges[f] = masq.Union(w.Sources.Prefixes, f)
		}
	}
	return o
}

// of returns nil where an address is nobody's.
func (o owners) of(a netip.Addr) *direct {
	if d, ok := o.attachments[a]; ok {
		return d
	}
	if o.sources != nil && within(o.ranges[masq.FamilyOf(a)], a) {
		return o.sources
	}
	return nil
}

// direct is the direct destinations of a policy, to be asked often.
type direct struct {
	ranges map[masq.Family][]masq.AddrRange
}

func newDirect(p masq.Policy) *direct {
	d := &direct{map[masq.Family][]masq.AddrRange{}}
	for _, f := range masq.Families {
		d.ranges[f] = p.DirectRanges(f)
	}
	return d
}

func (d *direct) has(a netip.Addr) bool { return within(d.ranges[masq.FamilyOf(a)], a) }

// within looks an address up in ranges that are sorted and apart.
func within(all []masq.AddrRange, a netip.Addr) bool {
	i := sort.Search(len(all), func(i int) bool { return all[i].Last.Compare(a) >= 0 })
	return i < len(all) && all[i].First.Compare(a) <= 0
}
