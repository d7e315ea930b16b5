package portpool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Range is a range of source ports or of ICMP IDs, both ends included. Unlike a
// masq.PortRange it may begin with 0, which is a valid ID.
type Range struct{ First, Last uint16 }

// String returns the range in the form "20000-29999".
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText implements encoding.TextMarshaler.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Range) size() int { return int(r.Last) - int(r.First) + 1 }

// Pools has the port pool of each source of flows. Several goroutines may use it. Its size
// is proportional to the number of attachments whose policy has toPorts.
type Pools struct {
	all      []pool
	byAddr   map[netip.Addr]int32 // the pool of an address, if it differs from that of its prefix
	prefixes []prefix
}

// pool is a set of source ports from which the kernel chooses.
type pool struct {
	ranges []Range
	size   int
}

type prefix struct {
	netip.Prefix
	pool int32
}

// The pools without a range (nf_nat_l4proto_unique_tuple). Flows with a source port below
// 1024 use them even if their policy has a range: the ruleset excludes these flows.
const (
	poolLow    = iota // source ports below 512
	poolRsh           // source ports from 512 to 1023, as rsh needs them
	poolAll           // other source ports
	poolIDs           // ICMP
	firstRange        // the first pool of a policy with toPorts
)

// PoolsOf returns the pools of attachments with their active policies, and of the prefixes
// of sourceCIDRs with theirs. All other sources draw from the kernel's pools.
func PoolsOf(attachments []masq.Attachment, prefixes []netip.Prefix, policy masq.Policy) *Pools {
	p := &Pools{byAddr: make(map[netip.Addr]int32)}
	for _, r := range []Range{poolLow: {1, 511}, poolRsh: {600, 1023}, poolAll: {1024, 65535}, poolIDs: {0, 65535}} {
		p.all = append(p.all, pool{[]Range{r}, r.size()})
	}
	known := map[string]int32{}
	for _, x := range prefixes {
		p.prefixes = append(p.prefixes, prefix{x, p.add(known, policy.ToPorts)})
	}
	byPolicy := map[*masq.Policy]int32{} // thousands of attachments may share a policy
	for i := range attachments {
		a := &attachments[i]
		if a.Policy == nil {
			continue
		}
		at, ok := byPolicy[a.Policy]
		if !ok {
			at = p.add(known, a.Policy.ToPorts)
			byPolicy[a.Policy] = at
		}
		for _, addr := range a.Addresses {
			// If several attachments have an address, it belongs to the latest.
			if at == p.poolOfPrefix(addr) {
				delete(p.byAddr, addr)
			} else {
				p.byAddr[addr] = at
			}
		}
	}
	return p
}

// add returns the pool with these ranges, and adds it if there is none.
func (p *Pools) add(known map[string]int32, toPorts []masq.PortRange) int32 {
	ranges := mergeRanges(toPorts)
	if len(ranges) == 0 {
		return poolAll
	}
	name := fmt.Sprint(ranges)
	if at, ok := known[name]; ok {
		return at
	}
	x := pool{ranges: ranges}
	for _, r := range ranges {
		x.size += r.size()
	}
	p.all = append(p.all, x)
	known[name] = int32(len(p.all) - 1)
	return known[name]
}

// mergeRanges returns ranges in order, each port once.
func mergeRanges(in []masq.PortRange) (out []Range) {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b masq.PortRange) int { return cmp.Compare(a.First, b.First) })
	for _, r := range in {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, Range{r.First, r.Last})
	}
	return out
}

// poolOf returns the pool that the port of a translated flow was chosen from.
func (p *Pools) poolOf(f *conntrack.Flow) int32 {
	switch o := &f.Original; {
	case isICMP(o.Proto):
		return poolIDs
	case o.SrcPort < 512:
		return poolLow
	case o.SrcPort < 1024:
		return poolRsh
	}
	if at, ok := p.byAddr[f.Original.Src]; ok {
		return at
	}
	return p.poolOfPrefix(f.Original.Src)
}

// poolOfPrefix returns the pool of an address that no attachment has.
func (p *Pools) poolOfPrefix(a netip.Addr) int32 {
	for i := range p.prefixes {
		if x := &p.prefixes[i]; x.Contains(a) {
			return x.pool
		}
	}
	return poolAll
}
