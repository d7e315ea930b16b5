package reconcile

import (
	"context"
	"net/netip"
	"sort"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Gap finds flows that began while their rules were missing. The kernel decides
// with a flow's first packet whether it is translated: such a flow would leave with
// its private address for its whole life.
type Gap struct {
	// Local reports whether an address is the node's own.
	Local func(netip.Addr) (bool, error)
	// Delete deletes the flows that match says so of, and returns how many.
	Delete func(ctx context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (int, error)
}

// Forget deletes the flows of attachments that are not translated and should be:
// those to destinations that are not direct. The next packet of each begins it
// anew. Flows that are translated are not touched.
func (g Gap) Forget(ctx context.Context, attachments []masq.Attachment) (int, error) {
	policies := map[netip.Addr]*direct{}
	made := map[*masq.Policy]*direct{}
	for _, a := range attachments {
		if a.Policy == nil || a.Policy.EgressDirect {
			continue
		}
		d := made[a.Policy]
		if d == nil {
			d = newDirect(*a.Policy)
			made[a.Policy] = d
		}
		for _, addr := range a.Addresses {
			policies[addr] = d
		}
	}
	local := map[netip.Addr]bool{}
	var failed error
	isLocal := func(a netip.Addr) bool {
		known, ok := local[a]
		if !ok {
			var err error
			if known, err = g.Local(a); err != nil {
				failed = err
				return true // left alone
			}
			local[a] = known
		}
		return known
	}
	n, err := g.Delete(ctx, conntrack.Filter{StatusMask: conntrack.SrcNAT}, func(f *conntrack.Flow) bool {
		d, ours := policies[f.Original.Src]
		if !ours {
			return false
		}
		// Where the destination was translated, the reply comes from the one that
		// counts.
		to := f.Reply.Src
		return !d.has(to) && !isLocal(to)
	})
	if err == nil {
		err = failed
	}
	return n, err
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

func (d *direct) has(a netip.Addr) bool {
	all := d.ranges[masq.FamilyOf(a)]
	i := sort.Search(len(all), func(i int) bool { return all[i].Last.Compare(a) >= 0 })
	return i < len(all) && all[i].First.Compare(a) <= 0
}
