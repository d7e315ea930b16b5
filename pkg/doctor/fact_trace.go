package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// trace is what happened on the node to the packets of a probe.
type trace struct {
	Packets []nft.TracedPacket
	owners  tableOwners
	// Err says why the packets could not be traced.
	Err error
	// Incomplete is true if the kernel dropped messages of the trace.
	Incomplete bool
}

// incompleteError returns an error if rules that packets met may be missing from the trace.
func (x *trace) incompleteError() error {
	if !x.Incomplete {
		return nil
	}
	return notChecked("the kernel dropped messages of the trace, because there were too many: the path may lack rules that the packets met; run doctor again")
}

// traceWhile traces packets while f sends them. f runs also if they cannot be traced.
func traceWhile(ctx context.Context, flows []nft.TraceFlow, f func() error) (*trace, error) {
	x := &trace{owners: tableOwners{}}
	t, err := nft.OpenTracer(ctx, flows...)
	if err != nil {
		x.Err = fmt.Errorf("trace packets: %w", err)
		return x, f()
	}
	defer func() { _ = t.Close() }()
	if err := f(); err != nil {
		return x, err
	}
	var complete bool
	if x.Packets, complete, x.Err = t.Packets(ctx); x.Err == nil {
		x.Incomplete = !complete
		x.Err = x.readOwners()
	}
	return x, nil
}

// readOwners reads the owners of the tables in which packets ended.
func (x *trace) readOwners() error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, p := range x.Packets {
		if len(p.Steps) == 0 {
			continue
		}
		s := p.Steps[len(p.Steps)-1]
		if err := x.owners.read(c, s.Family, s.Table); err != nil {
			return err
		}
	}
	return nil
}

// of returns the packets of a family.
func (x *trace) of(like netip.Addr) (out []nft.TracedPacket) {
	for _, p := range x.Packets {
		if p.First.Source.Addr().Is4() == like.Is4() {
			out = append(out, p)
		}
	}
	return out
}

// ended returns the packets of a connection attempt that a rule or a policy ended, if that is why
// it failed, and the ICMP errors that tell an MTU. The other packets of a probe belong to no
// connection, and a firewall may drop them.
func ended(all []nft.TracedPacket, c probe.Connection) (out []nft.TracedPacket) {
	translated := map[netip.AddrPort]bool{c.Local: true} // as the target sees the source
	for _, p := range all {
		if p.Role == nft.Request && p.First.Source == c.Local {
			translated[p.Last.Source] = true
		}
	}
	for _, p := range all {
		failed := false
		switch {
		case p.Role == nft.ICMPError:
			failed = tellsMTU(p.First) && p.Fate != nft.FateRejected
		case p.Role == nft.Request && p.First.Source != c.Local || p.Role == nft.Reply && !translated[p.First.Destination]:
		case p.Fate == nft.FateRejected:
			failed = c.State != probe.Connected
		default:
			failed = c.State == probe.Unanswered
		}
		if failed && (p.Fate == nft.FateDropped || p.Fate == nft.FateRejected || p.Fate == nft.FateQueued) {
			out = append(out, p)
		}
	}
	return out
}

// tellsMTU reports whether an ICMP error tells the MTU of a path.
func tellsMTU(p nft.Packet) bool {
	const unreachable, fragmentationNeeded, tooBig = 3, 4, 2
	return p.Protocol == unix.IPPROTO_ICMP && p.ICMPType == unreachable && p.ICMPCode == fragmentationNeeded ||
		p.Protocol == unix.IPPROTO_ICMPV6 && p.ICMPType == tooBig
}

// ownerOf names the program that made the chain of a step, or "" if it is not known.
func (x *trace) ownerOf(s *nft.TraceStep) string {
	if isMasq(s) {
		return "masq-cni"
	}
	return x.owners.of(s.Family, s.Table, s.Chain, s.BaseChain)
}

func isMasq(s *nft.TraceStep) bool { return ruleset.IsManaged(s.Family, s.Table) }

// evidenceOf shows a step and its packet.
func (x *trace) evidenceOf(p *nft.TracedPacket, s *nft.TraceStep) []Evidence {
	packet := Evidence{"trace", fmt.Sprintf("packet from %s to %s%s", s.Packet.Source, s.Packet.Destination, arrived(p))}
	if s.Handle == 0 {
		out := []Evidence{packet, {listChain(s.Family, s.Table, s.Chain), fmt.Sprintf("policy %s; hook %s, priority %d", s.Verdict, s.Hook, s.Priority)}}
		if o := x.ownerOf(s); o != "" {
			out = append(out, Evidence{"owner of the chain, by its name or its table", o})
		}
		return out
	}
	return append([]Evidence{packet}, ruleEvidence(s.Family, s.Table, s.Chain, s.BaseChain, s.Hook, s.Priority, s.Handle, s.Rule.Text, s.Rule.Comment, x.ownerOf(s))...)
}

func arrived(p *nft.TracedPacket) string {
	if p.In == "" {
		return ", sent by the node"
	}
	return ", by interface " + p.In
}

// packetDropped is the finding about packets that one rule or policy ended. all are such
// packets. from and to name container and target.
func (x *trace) packetDropped(all []nft.TracedPacket, from, to string) Finding {
	p := &all[0]
	s := &p.Steps[len(p.Steps)-1]
	verb := map[nft.Fate]string{nft.FateDropped: "drops", nft.FateRejected: "rejects", nft.FateQueued: "gives to a program, which does not return them,"}[p.Fate]
	what := map[nft.PacketRole]string{
		nft.Request: fmt.Sprintf("packets of %s to %s", from, to), nft.Reply: fmt.Sprintf("answers of %s to %s", to, from),
		nft.ICMPError: fmt.Sprintf("ICMP errors about packets between %s and %s", from, to),
	}[p.Role]
	by := "by its policy"
	if s.Handle != 0 {
		by = fmt.Sprintf("by rule handle %d", s.Handle)
	}
	f := Finding{
		Severity: report.SeverityError,
		Object:   chainName(s.Family, s.Table, s.Chain),
		Message:  fmt.Sprintf("%s %s %s: hook %s, priority %d", verb, what, by, s.Hook, s.Priority),
		Evidence: append(x.evidenceOf(p, s), Evidence{"packets of the probe that ended there", fmt.Sprint(len(all))}),
		Why:      "Each such connection fails; an accept in another table does not override it.",
		Remedy: Remedy{
			Text:     "have " + configuredBy(x.ownerOf(s)) + " accept these packets in chain " + s.BaseChain + "; the last command does so until that program loads its rules again",
			Commands: []string{listChain(s.Family, s.Table, s.Chain), acceptCommand(p, s)},
		},
	}
	if p.Role == nft.ICMPError {
		f.Why = "Hosts do not learn why packets did not arrive, nor the MTU of the path."
	}
	if isMasq(s) {
		f.Why = "Each such connection fails: a rule of masq-cni that protects the node applies to it."
		f.Remedy = Remedy{Text: "see the reason of rule " + s.Rule.Comment, Commands: []string{"masq-cni inspect rules"}}
	}
	return f
}

// acceptCommand accepts packets like p before the other rules of a base chain.
func acceptCommand(p *nft.TracedPacket, s *nft.TraceStep) string {
	network, src, dst := "ip", s.Packet.Source, s.Packet.Destination
	if src.Addr().Is6() {
		network = "ip6"
	}
	match := ""
	switch {
	case p.Role == nft.ICMPError && network == "ip":
		match = "icmp type destination-unreachable"
	case p.Role == nft.ICMPError:
		match = "icmpv6 type '{ destination-unreachable, packet-too-big }'"
	case p.Role == nft.Reply:
		match = fmt.Sprintf("%s saddr %s", network, src.Addr())
		if t := transportName(s.Packet.Protocol); t != "" {
			match += fmt.Sprintf(" %s sport %d", t, src.Port())
		}
	default:
		match = fmt.Sprintf("%s saddr %s %s daddr %s", network, src.Addr(), network, dst.Addr())
		if t := transportName(s.Packet.Protocol); t != "" {
			match += fmt.Sprintf(" %s dport %d", t, dst.Port())
		}
	}
	return fmt.Sprintf("nft insert rule %s %s %s %s accept", report.ShellQuote(s.Family), report.ShellQuote(s.Table), report.ShellQuote(s.BaseChain), match)
}

func transportName(protocol uint8) string {
	return map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[protocol]
}

// byStep groups packets by the rule or policy that ended them, in the order of the packets.
func byStep(all []nft.TracedPacket) (out [][]nft.TracedPacket) {
	type key struct {
		family, table, chain string
		handle               uint64
		role                 nft.PacketRole
	}
	var keys []key
	for _, p := range all {
		if len(p.Steps) == 0 {
			continue
		}
		s := p.Steps[len(p.Steps)-1]
		k := key{s.Family, s.Table, s.Chain, s.Handle, p.Role}
		i := slices.Index(keys, k)
		if i < 0 {
			i = len(keys)
			keys, out = append(keys, k), append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

// translatedElsewhere returns the first request whose source another table translated, and
// the step that did. It returns nil for a connection whose destination was translated too:
// programs that publish services do that.
func translatedElsewhere(all []nft.TracedPacket) (*nft.TracedPacket, *nft.TraceStep) {
	for i := range all {
		p := &all[i]
		if p.Role != nft.Request || slices.ContainsFunc(p.Translations, func(t nft.Translation) bool { return t.Destination.Before != t.Destination.After }) {
			continue
		}
		for _, t := range p.Translations {
			if t.Step >= 0 && t.Source.Before != t.Source.After && !isMasq(&p.Steps[t.Step]) {
				return p, &p.Steps[t.Step]
			}
		}
	}
	return nil, nil
}

// translatedBy is the finding about a request whose source another table translated.
func (x *trace) translatedBy(p *nft.TracedPacket, s *nft.TraceStep, from, to string) Finding {
	f := Finding{
		Severity: report.SeverityWarning,
		Object:   chainName(s.Family, s.Table, s.Chain),
		Message:  fmt.Sprintf("translates connections of %s to %s that table inet masq leaves untranslated: rule handle %d, priority %d", from, to, s.Handle, s.Priority),
		Evidence: x.evidenceOf(p, s),
		Why:      "The target sees another address than the policy of the container says.",
		Remedy: Remedy{
			Text:     "configure " + configuredBy(x.ownerOf(s)) + " so that it does not translate the container's address; the last command removes the rule until that program makes it again",
			Commands: []string{listChain(s.Family, s.Table, s.Chain), deleteRule(s.Family, s.Table, s.Chain, s.Handle)},
		},
	}
	for _, t := range p.Translations {
		if t.Source.Before != t.Source.After {
			f.Evidence = append(f.Evidence, Evidence{"trace", fmt.Sprintf("source %s becomes %s", t.Source.Before, t.Source.After)})
		}
	}
	own := ""
	for i := range p.Steps {
		if m := &p.Steps[i]; isMasq(m) && m.Type == "nat" && m.Hook == "postrouting" && m.Handle != 0 {
			own = m.Rule.Comment
		}
	}
	if own != "" {
		f.Evidence = append(f.Evidence, Evidence{"last rule of table inet masq that the packet met", own})
	}
	if s.Priority < masqPriority {
		f.Severity = report.SeverityError
		f.Message = fmt.Sprintf("translates connections of %s to %s before table inet masq: its priority is %d, that of table inet masq is %d", from, to, s.Priority, masqPriority)
	}
	return f
}

// answersEnded says which chain ended the answers of the target, or "".
func answersEnded(all []nft.TracedPacket) string {
	for i := range all {
		if p := &all[i]; p.Role == nft.Reply && len(p.Steps) > 0 {
			s := &p.Steps[len(p.Steps)-1]
			return fmt.Sprintf("its answers were %s by %s %s %s", p.Fate, s.Family, s.Table, s.Chain)
		}
	}
	return ""
}

// lost returns the place at which the last lost request was seen, or "" if none was lost on
// the node.
func lost(all []nft.TracedPacket) string {
	for _, p := range slices.Backward(all) {
		if p.Role == nft.Request {
			if p.Fate != nft.FateLost {
				return ""
			}
			return p.After.String()
		}
	}
	return ""
}

// stations returns the rules and chains that a packet met, for the path.
func stations(p *nft.TracedPacket) (out []Station) {
	for i := range p.Steps {
		s := &p.Steps[i]
		st := Station{Kind: OtherChain, Name: s.Family + " " + s.Table + " " + s.Chain, Detail: s.Verdict}
		switch {
		case isMasq(s) && s.Rule.Comment != "":
			st.Kind, st.Name = Rule, s.Rule.Comment
		case isMasq(s):
			continue // its policies accept
		}
		if s.Rule.NAT != "" {
			st.Detail = s.Rule.NAT
			for _, t := range p.Translations {
				if t.Step == i && t.Source.Before != t.Source.After {
					st.Detail = fmt.Sprintf("source %s becomes %s", t.Source.Before.Addr(), t.Source.After.Addr())
				}
			}
		}
		st.Packets = s.Rule.Packets
		if i == len(p.Steps)-1 && (p.Fate == nft.FateDropped || p.Fate == nft.FateRejected) {
			st.Lost = "packet was " + string(p.Fate)
		}
		// The last step in a chain of another table says what became of the packet.
		if n := len(out); n > 0 && st.Kind == OtherChain && out[n-1].Kind == OtherChain && out[n-1].Name == st.Name {
			out[n-1] = st
			continue
		}
		out = append(out, st)
	}
	return out
}
