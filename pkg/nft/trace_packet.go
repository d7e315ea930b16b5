package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// TraceKind is the kind of a TraceStep.
type TraceKind string

// Kinds of steps.
const (
	TraceRule   TraceKind = "rule"   // a rule matched
	TraceReturn TraceKind = "return" // the packet returned from a chain that it was sent to
	TracePolicy TraceKind = "policy" // the policy of a base chain applied
)

// Fate is what happened to a traced packet.
type Fate string

// Fates of packets.
const (
	// FateLeft packets passed the last chain of the hook postrouting: they were given to the
	// interface Out. Later, only conntrack, the neighbor table and the device can drop them.
	FateLeft Fate = "left"
	// FateDelivered packets passed the last chain of the hook input.
	FateDelivered Fate = "delivered"
	// FateDropped and FateRejected packets were dropped by the last step.
	FateDropped  Fate = "dropped"
	FateRejected Fate = "rejected"
	// FateQueued packets were given to a program by the last step, and have not come back.
	FateQueued Fate = "queued"
	// FateLost packets were dropped outside of nf_tables, after the place After.
	FateLost Fate = "lost"
)

// ended reports whether a rule or a policy of nf_tables ended the packet.
func (f Fate) ended() bool { return f == FateDropped || f == FateRejected || f == FateQueued }

// TracedPacket is the way of one packet through the node.
type TracedPacket struct {
	Role PacketRole
	// In and Out are the interfaces by which it came and left. In is empty for a packet of
	// the node itself, and Out if it did not leave.
	In, Out string
	// First has the headers with which it came, and Last those with which it was seen last.
	First, Last Packet
	// Steps are the rules and policies that it met, in order.
	Steps []TraceStep
	// Translations are the changes of its addresses and ports.
	Translations []Translation
	Fate         Fate
	// After is where a packet of FateLost was seen last.
	After TracePlace

	out     uint32
	bridged bool // seen by tables of the family bridge only
}

// TracePlace is a place in the kernel.
type TracePlace struct {
	Hook string // "prerouting", "input", "forward", "output" or "postrouting"
	// Passed says that the packet passed all chains of the hook. If not, something between
	// them dropped it: conntrack, defragmentation, or a table of legacy iptables.
	Passed bool
}

// String returns "after the hook forward" or "within the hook forward".
func (p TracePlace) String() string {
	if p.Passed {
		return "after the hook " + p.Hook
	}
	return "within the hook " + p.Hook
}

// TraceStep is a rule or a policy that a packet met.
type TraceStep struct {
	Kind                 TraceKind
	Family, Table, Chain string
	// BaseChain is the base chain from which the packet came to Chain. Hook, Priority and
	// Type ("filter", "nat" or "route") are the base chain's.
	BaseChain, Hook, Type string
	Priority              int
	// Verdict is "accept", "drop", "continue", "return", "jump CHAIN", "goto CHAIN", "queue"
	// or "stolen".
	Verdict string
	// Handle is the handle of the rule, 0 for a policy.
	Handle uint64
	Rule   TracedRule
	// Packet has the packet's headers at the beginning of the base chain.
	Packet Packet

	family  uint8
	base    chainID
	in, out uint32
	begins  bool
	code    int32
}

// TracedRule is a rule that a packet met, as it was when the packets were read. If the rule
// does not exist any more, its fields are empty.
type TracedRule struct {
	// Comment is the comment of the rule: in table inet masq, its ID.
	Comment string
	// Text is the rule in the notation of nft, with parts that are not decoded in brackets.
	Text string
	// Reject says that the rule rejects. NAT is "masquerade", "snat", "dnat" or "redirect" if
	// the rule translates.
	Reject bool
	NAT    string
	// Packets is the value of the rule's counter, or nil.
	Packets *uint64
}

// Translation is a change of a packet's addresses and ports.
type Translation struct {
	Source, Destination struct{ Before, After netip.AddrPort }
	// Step is the index of the rule that translated. It is -1 if the packet met none: an
	// earlier packet of the flow did, and conntrack applies the same to the later ones.
	Step int
}

// tracedPackets groups messages by packet.
func tracedPackets(received []traceMessage, table string, roles map[tracedRule]PacketRole) (all []TracedPacket) {
	open := map[uint32]int{} // the latest packet with an ID
	for _, m := range received {
		role, selects := roles[tracedRule{m.family, m.handle}]
		own := (m.family == unix.NFPROTO_INET || m.family == unix.NFPROTO_BRIDGE) && m.table == table
		// The kernel makes the ID from the address of the packet in memory and its flow, so
		// a later packet can have it again.
		if own && m.headers && slices.Contains(selecting, m.chain) && selects {
			open[m.id] = len(all)
			all = append(all, TracedPacket{Role: role, First: m.packet, bridged: m.family == unix.NFPROTO_BRIDGE})
		}
		i, ok := open[m.id]
		if !ok && m.headers {
			if i, ok = continued(all, m.packet); ok {
				open[m.id] = i
			}
		}
		if !ok {
			continue // another program traces this packet
		}
		p := &all[i]
		s := TraceStep{
			Kind: m.kind, Family: families[m.family], Table: m.table, Chain: m.chain, Handle: m.handle,
			Verdict: verdictText(m.verdict, m.target), Packet: m.packet,
			family: m.family, in: m.in, out: m.out, begins: m.headers, code: m.verdict,
		}
		if n := len(p.Steps); m.headers || n == 0 {
			s.base = chainID{tableID{m.family, m.table}, m.chain}
		} else {
			before := p.Steps[n-1]
			s.base, s.Packet, s.in, s.out = before.base, before.Packet, before.in, before.out
		}
		p.Steps = append(p.Steps, s)
	}
	return all
}

// continued returns the latest packet with these headers, apart from the TTL. A packet that leaves
// a bridge enters the node again, with another ID. If bridge-nf-call-iptables is 1, it does not pass
// the hook prerouting again (ip_sabotage_in in net/bridge/br_netfilter_hooks.c).
func continued(all []TracedPacket, now Packet) (int, bool) {
	for i, p := range slices.Backward(all) {
		// Each step has the headers that its base chain began with.
		before := p.Steps[len(p.Steps)-1].Packet
		before.TTL = now.TTL
		if before == now {
			return i, true
		}
	}
	return 0, false
}

// verdictText returns nft's word for a verdict.
func verdictText(code int32, target string) string {
	if code >= 0 {
		code &= nfVerdictMask
	}
	switch code {
	case nfDrop:
		return "drop"
	case nfAccept:
		return "accept"
	case nfStolen:
		return "stolen"
	case nfQueue:
		return "queue"
	case unix.NFT_CONTINUE:
		return "continue"
	case unix.NFT_BREAK:
		return "break"
	case unix.NFT_JUMP:
		return "jump " + target
	case unix.NFT_GOTO:
		return "goto " + target
	case unix.NFT_RETURN:
		return "return"
	}
	return fmt.Sprint("verdict ", code)
}

// Verdicts of netfilter (uapi/linux/netfilter.h). The upper bits have the number of a queue or
// an errno.
const (
	nfStolen, nfQueue = 2, 3
	nfVerdictMask     = 0xff
)

// judge determines fate and translations from the steps, and removes the steps that are in
// tables of Tracers. The steps have their names.
func (p *TracedPacket) judge(table string) {
	p.Fate = FateLost
	kept := p.Steps[:0:0]
	nat := -1 // the last rule that translates, since the addresses changed
	for _, s := range p.Steps {
		if s.begins {
			p.translated(s.Packet, nat)
			p.Last = s.Packet
		}
		own := isTraceTable(s.Table)
		switch {
		case own && s.Table != table:
			continue
		case own:
			p.pass(s)
			continue
		}
		kept = append(kept, s)
		if s.Rule.NAT != "" {
			nat = len(kept) - 1
		}
		p.Fate = FateLost
		switch s.Verdict {
		case "drop":
			p.Fate = FateDropped
			if s.Rule.Reject {
				p.Fate = FateRejected
			}
		case "queue", "stolen":
			p.Fate = FateQueued
		}
	}
	p.Steps = kept
}

// pass records that the packet passed a chain of the Tracer.
func (p *TracedPacket) pass(s TraceStep) {
	i := slices.IndexFunc(tracePoints, func(t tracePoint) bool { return t.chain == s.Chain })
	if i < 0 {
		return
	}
	t := tracePoints[i]
	if s.family == unix.NFPROTO_BRIDGE && !p.bridged {
		return // in the middle of the way of a packet that entered or leaves by a bridge
	}
	p.Fate, p.After, p.out = FateLost, TracePlace{Hook: hookName(t.hook), Passed: t.priority > 0}, s.out
	switch {
	case p.After.Passed && t.hook == unix.NF_INET_POST_ROUTING:
		p.Fate = FateLeft
	case p.After.Passed && t.hook == unix.NF_INET_LOCAL_IN:
		p.Fate = FateDelivered
	}
}

// translated compares the headers with those seen before.
func (p *TracedPacket) translated(now Packet, step int) {
	if p.Last == (Packet{}) || p.Last.Source == now.Source && p.Last.Destination == now.Destination {
		return
	}
	var t Translation
	t.Source.Before, t.Source.After = p.Last.Source, now.Source
	t.Destination.Before, t.Destination.After = p.Last.Destination, now.Destination
	t.Step = step
	for _, earlier := range p.Translations {
		if earlier.Step == step {
			t.Step = -1
		}
	}
	p.Translations = append(p.Translations, t)
}
