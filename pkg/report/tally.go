package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Tally counts flows by attachment, state, helper and egress address. Its memory grows with
// the number of attachments, not of flows.
type Tally struct {
	Flows, Translated int
	// Owned is the number of flows that an attachment began, or that reached one.
	Owned int
	// ByOwner has the counts of each attachment, with the indices of Owners.
	ByOwner []Count
	// Counted and Timed are true if at least one flow has packet counters, or timestamps.
	Counted, Timed bool

	owners  *Owners
	kinds   map[uint32]int
	helpers map[conntrack.Helper]int
	egress  map[netip.Addr]*int
	others  int // translated flows of egress addresses beyond maxEgressAddresses
	last    struct {
		addr netip.Addr
		n    *int
	}
}

// maxEgressAddresses is the number of egress addresses that are counted separately. A node has
// few, but other programs may translate to more.
const maxEgressAddresses = 256

// NewTally returns an empty tally.
func NewTally(o *Owners) *Tally {
	return &Tally{
		ByOwner: make([]Count, o.Len()), owners: o,
		kinds: map[uint32]int{}, helpers: map[conntrack.Helper]int{}, egress: map[netip.Addr]*int{},
	}
}

// Add counts a flow. It allocates memory only for new states, helpers and addresses.
func (t *Tally) Add(f *conntrack.Flow) {
	t.Flows++
	t.kinds[kindOf(f)]++
	t.Counted = t.Counted || f.Has(conntrack.HasCounters)
	t.Timed = t.Timed || f.Has(conntrack.HasTimestamps)
	from, to := t.owners.Indices(f)
	if from >= 0 || to >= 0 {
		t.Owned++
	}
	if f.Helper != (conntrack.Helper{}) {
		t.helpers[f.Helper]++
	}
	translated := f.Translated()
	if translated {
		t.Translated++
		t.countEgress(f.Reply.Dst)
	}
	if from >= 0 {
		c := &t.ByOwner[from]
		c.Flows++
		if translated {
			c.Translated++
			c.TranslatedBytes += f.OriginalCounters.Bytes + f.ReplyCounters.Bytes
		}
		c.Packets.Original += f.OriginalCounters.Packets
		c.Packets.Reply += f.ReplyCounters.Packets
		c.Bytes.Original += f.OriginalCounters.Bytes
		c.Bytes.Reply += f.ReplyCounters.Bytes
	}
	if to >= 0 {
		t.ByOwner[to].Incoming++
	}
}

func (t *Tally) countEgress(a netip.Addr) {
	if t.last.n == nil || t.last.addr != a {
		n := t.egress[a]
		switch {
		case n == nil && len(t.egress) == maxEgressAddresses:
			t.others++
			return
		case n == nil:
			n = new(int)
			t.egress[a] = n
		}
		t.last.addr, t.last.n = a, n
	}
	*t.last.n++
}

// FlowHolder is an attachment and the number of flows that it began.
type FlowHolder struct {
	Owner
	Flows int
}

// FlowHolders returns at most n attachments, those with the most flows first.
func (t *Tally) FlowHolders(n int) (out []FlowHolder) {
	for i := range t.ByOwner {
		flows := t.ByOwner[i].Flows
		if flows == 0 || len(out) == n && flows <= out[n-1].Flows {
			continue
		}
		at := slices.IndexFunc(out, func(h FlowHolder) bool { return h.Flows < flows })
		if at < 0 {
			at = len(out)
		}
		out = slices.Insert(out, at, FlowHolder{*t.owners.At(i), flows})
		out = out[:min(len(out), n)]
	}
	return out
}

// MaxFlowHolders is the number of attachments that the summary names for a full table.
const MaxFlowHolders = maxEvidence

// holders returns the attachments with the most flows as evidence.
func (n *Node) holders() (out []Evidence) {
	for _, h := range n.FlowHolders {
		out = append(out, Evidence{"conntrack entries of " + h.Pod(), fmt.Sprint(h.Flows)})
	}
	return out
}

// kindOf encodes the protocol and the state of a flow as a number, since making the name for
// each flow would be slow.
func kindOf(f *conntrack.Flow) uint32 {
	const stateBits = conntrack.SeenReply | conntrack.Assured | conntrack.Offload | conntrack.HWOffload
	k := uint32(f.Original.Proto) << 24
	if f.Has(conntrack.HasState) {
		return k | 1<<8 | uint32(f.State)
	}
	switch s := f.Status & stateBits; {
	case s&(conntrack.Offload|conntrack.HWOffload) != 0:
		return k | 3<<16
	case s&conntrack.Assured != 0:
		return k | 2<<16
	case s != 0:
		return k | 1<<16
	}
	return k
}

// kindNames returns protocol and state of a kind.
func kindNames(k uint32) (protocol, state string) {
	f := conntrack.Flow{Original: conntrack.Tuple{Proto: uint8(k >> 24)}}
	switch {
	case k&(1<<8) != 0:
		f.Fields, f.State = conntrack.HasState, conntrack.State(k)
	default:
		f.Status = [...]conntrack.Status{0, conntrack.SeenReply, conntrack.Assured, conntrack.Offload}[k>>16&3]
	}
	return Protocol(f.Original.Proto), State(&f)
}

// StateCount is the number of flows of a protocol in a state.
type StateCount struct {
	Protocol string `json:"protocol"`
	State    string `json:"state"`
	Flows    int    `json:"flows"`
}

// States returns flows by protocol and state, for each protocol in descending order.
func (t *Tally) States() []StateCount {
	out := []StateCount{}
	for k, n := range t.kinds {
		proto, state := kindNames(k)
		out = append(out, StateCount{proto, state, n})
	}
	slices.SortFunc(out, func(a, b StateCount) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(b.Flows, a.Flows), strings.Compare(a.State, b.State))
	})
	return out
}

// HelperCount is the number of flows with a helper, which are control connections.
type HelperCount struct {
	Helper string `json:"helper"`
	Flows  int    `json:"flows"`
}

// Helpers returns the helpers in use, by name.
func (t *Tally) Helpers() []HelperCount {
	out := []HelperCount{}
	for h, n := range t.helpers {
		out = append(out, HelperCount{h.String(), n})
	}
	slices.SortFunc(out, func(a, b HelperCount) int { return strings.Compare(a.Helper, b.Helper) })
	return out
}

// EgressCount is the number of flows that are translated to an address. The zero address
// means all addresses beyond the first 256.
type EgressCount struct {
	Address netip.Addr `json:"address"`
	Flows   int        `json:"flows"`
}

// Egress returns the egress addresses of translated flows, the most used first.
func (t *Tally) Egress() []EgressCount {
	out := []EgressCount{}
	for a, n := range t.egress {
		out = append(out, EgressCount{a, *n})
	}
	slices.SortFunc(out, func(a, b EgressCount) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), a.Address.Compare(b.Address))
	})
	if t.others > 0 {
		out = append(out, EgressCount{Flows: t.others})
	}
	return out
}
