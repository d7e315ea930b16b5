package portpool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Range is a range of source ports, or of IDs of ICMP, both ends included. Unlike a
// masq.PortRange it may begin with 0, which is an ID.
type Range struct{ First, Last uint16 }

// String is the range as it is written: "20000-29999".
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText implements encoding.TextMarshaler.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Range) size() int { return int(r.Last) - int(r.First) + 1 }

// Pools says which ports the sources of flows draw from. It is read by any number of
// goroutines; its size follows the attachments whose policy gives them ports of their own.
type Pools struct {
	all      []pool
	byAddr   map[netip.Addr]int32 // where it is not that of everybody around
	prefixes []prefix
}

// pool is a set of ports that one is drawn from.
type pool struct {
	ranges []Range
	size   int
}

type prefix struct {
	netip.Prefix
	pool int32
}

// The pools of the kernel, where no range is given (nf_nat_l4proto_unique_tuple).
// Sources below 1024 have theirs even where one is given: the ruleset passes them by.
const (
	poolLow  = iota // sources below 512
	poolRsh         // sources from 512 to 1023: >> 512 is credential passing
	poolAll         // other sources
	poolIDs         // ICMP
	ownPools        // the first of those that policies give
)

// PoolsOf takes the attachments with the policies that are in force, and the
// prefixes of sources that others wired, with theirs. All other sources draw from
// the ports that the kernel takes by itself.
func PoolsOf(attachments []masq.Attachment, prefixes []netip.Prefix, policy masq.Policy) *Pools {
	p := &Pools{byAddr: make(map[netip.Addr]int32)}
	for _, r := range []Range{poolLow: {1, 511}, poolRsh: {600, 1023}, poolAll: {1024, 65535}, poolIDs: {0, 65535}} {
		p.all = append(p.all, pool{[]Range{r}, r.size()})
	}
	known := map[string]int32{}
	for _, x := range prefixes {
		p.prefixes = append(p.prefixes, prefix{x, p.add(known, policy.ToPorts)})
	}
	uses := map[*masq.Policy]int32{} // thousands of attachments may share a policy
	for i := range attachments {
		a := &attachments[i]
		if a.Policy == nil {
			continue
		}
		at, ok := uses[a.Policy]
		if !ok {
			at = p.add(known, a.Policy.ToPorts)
			uses[a.Policy] = at
		}
		for _, addr := range a.Addresses {
			// The later attachment has it.
			if at == p.around(addr) {
				delete(p.byAddr, addr)
			} else {
				p.byAddr[addr] = at
			}
		}
	}
	return p
}

// add finds or makes the pool of some ranges.
func (p *Pools) add(known map[string]int32, toPorts []masq.PortRange) int32 {
	ranges := merged(toPorts)
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

// merged puts ranges into order, each port once.
func merged(in []masq.PortRange) (out []Range) {
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

// of is the pool that the port of a translated flow was drawn from.
func (p *Pools) of(f *conntrack.Flow) int32 {
	switch o := &f.Original; {
	case icmp(o.Proto):
		return poolIDs
	case o.SrcPort < 512:
		return poolLow
	case o.SrcPort < 1024:
		return poolRsh
	}
	if at, ok := p.byAddr[f.Original.Src]; ok {
		return at
	}
	return p.around(f.Original.Src)
}

// around is the pool of an address that no attachment has.
func (p *Pools) around(a netip.Addr) int32 {
	for i := range p.prefixes {
		if x := &p.prefixes[i]; x.Contains(a) {
			return x.pool
		}
	}
	return poolAll
}
