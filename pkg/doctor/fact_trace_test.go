package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

var (
	traceSource = netip.MustParseAddrPort("10.88.0.2:40000")
	traceTarget = netip.MustParseAddrPort("198.51.100.2:443")
)

// tracedAt returns a packet that ended in a step.
func tracedAt(role nft.PacketRole, fate nft.Fate, s nft.TraceStep) nft.TracedPacket {
	src, dst := traceSource, traceTarget
	if role != nft.Request {
		src, dst = dst, src
	}
	s.Packet = nft.Packet{Source: src, Destination: dst, Protocol: unix.IPPROTO_TCP}
	return nft.TracedPacket{Role: role, Fate: fate, In: "veth1", First: s.Packet, Last: s.Packet, Steps: []nft.TraceStep{{Family: "inet", Table: "other", Chain: "pre"}, s}}
}

// TestPacketDropped: the finding names rule, chain, owner and a command that accepts the packets.
func TestPacketDropped(t *testing.T) {
	x := &trace{owners: map[string]string{"inet owned": "process 7 (guard)"}}
	docker := nft.TraceStep{Kind: nft.TraceRule, Family: "ip", Table: "filter", Chain: "DOCKER-USER", BaseChain: "FORWARD", Hook: "forward", Handle: 5, Rule: nft.TracedRule{Text: "reject", Comment: "no"}}
	owned := nft.TraceStep{Kind: nft.TracePolicy, Family: "inet", Table: "owned", Chain: "a b", BaseChain: "a b", Hook: "input", Priority: -5, Verdict: "drop"}
	ours := nft.TraceStep{Kind: nft.TraceRule, Family: "inet", Table: "masq", Chain: "forward", BaseChain: "forward", Hook: "forward", Priority: -150, Handle: 9, Rule: nft.TracedRule{Text: "drop", Comment: "forward/invalid"}}
	for name, c := range map[string]struct {
		packet  nft.TracedPacket
		object  string
		says    string
		command string
		owner   string
	}{
		"rejected": {
			tracedAt(nft.Request, nft.FateRejected, docker), "table ip filter, chain DOCKER-USER",
			"rejects packets of pod a/b to target by rule handle 5: hook forward, priority 0",
			"nft insert rule ip filter FORWARD ip saddr 10.88.0.2 ip daddr 198.51.100.2 tcp dport 443 accept", "Docker",
		},
		"answer, policy": {
			tracedAt(nft.Reply, nft.FateDropped, owned), "table inet owned, chain a b",
			"drops answers of target to pod a/b by its policy: hook input, priority -5",
			"nft insert rule inet owned 'a b' ip saddr 198.51.100.2 tcp sport 443 accept", "process 7 (guard)",
		},
		"ours": {
			tracedAt(nft.Request, nft.FateDropped, ours), "table inet masq, chain forward",
			"drops packets of pod a/b to target by rule handle 9: hook forward, priority -150", "masq-cni inspect rules", "masq-cni",
		},
	} {
		f := x.packetDropped([]nft.TracedPacket{c.packet, c.packet}, "pod a/b", "target")
		last := f.Remedy.Commands[len(f.Remedy.Commands)-1]
		if f.Severity != report.SeverityError || f.Object != c.object || f.Message != c.says || last != c.command || f.Why == "" {
			t.Errorf("%s: %s\n%+v", name, f, f)
		}
		owner := false
		for _, e := range f.Evidence {
			owner = owner || e.Value == c.owner && strings.HasPrefix(e.Source, "owner")
		}
		if !owner {
			t.Errorf("%s: no owner %q in %+v", name, c.owner, f.Evidence)
		}
	}
}

// TestEnded: drops of a probe that connected are no fault, except for ICMP errors that tell the
// MTU.
func TestEnded(t *testing.T) {
	step := nft.TraceStep{Family: "inet", Table: "x", Chain: "c", Handle: 1}
	syn := tracedAt(nft.Request, nft.FateDropped, step)
	left := tracedAt(nft.Request, nft.FateLeft, step)
	gone := tracedAt(nft.Request, nft.FateLost, step)
	icmp := func(kind, code uint8) nft.TracedPacket {
		p := tracedAt(nft.ICMPError, nft.FateDropped, step)
		p.First.Protocol, p.First.ICMPType, p.First.ICMPCode = unix.IPPROTO_ICMP, kind, code
		return p
	}
	all := []nft.TracedPacket{left, syn, gone, icmp(3, 4), icmp(11, 0), syn}
	other := syn
	other.First.Source = netip.MustParseAddrPort("10.88.0.2:40001")
	all = append(all, other)
	connection := func(s probe.State) probe.Connection { return probe.Connection{State: s, Local: traceSource} }
	if got := byStep(ended(all, connection(probe.Connected))); len(got) != 1 || len(got[0]) != 1 || got[0][0].First.ICMPCode != 4 {
		t.Errorf("connected: %+v", got)
	}
	if got := byStep(ended(all, connection(probe.Unanswered))); len(got) != 2 || len(got[0]) != 2 || len(got[1]) != 1 {
		t.Errorf("not answered: %+v", got)
	}
	if got := byStep(ended(all, connection(probe.Refused))); len(got) != 1 || len(got[0]) != 1 {
		t.Errorf("refused: %+v", got)
	}
	all = []nft.TracedPacket{tracedAt(nft.Request, nft.FateRejected, step)}
	if got := ended(all, connection(probe.Refused)); len(got) != 1 {
		t.Errorf("rejected: %+v", got)
	}
	all = []nft.TracedPacket{left, syn, gone, icmp(3, 4), icmp(11, 0), syn}
	if s := lost(all); s != "" {
		t.Errorf("the last request was dropped, not lost %s", s)
	}
	gone.After = nft.TracePlace{Hook: "prerouting", Passed: true}
	if s := lost([]nft.TracedPacket{syn, gone}); s != "after the hook prerouting" {
		t.Errorf("lost %q", s)
	}
}

// TestTranslatedElsewhere: a translation by another table is a fault, except for the address of a
// service. A translation by table inet masq is no fault.
func TestTranslatedElsewhere(t *testing.T) {
	nat := func(table string, priority int) nft.TraceStep {
		return nft.TraceStep{Kind: nft.TraceRule, Family: "inet", Table: table, Chain: "nat", BaseChain: "nat", Type: "nat", Hook: "postrouting", Priority: priority, Handle: 3, Rule: nft.TracedRule{NAT: "masquerade", Text: "masquerade", Comment: "c"}}
	}
	packet := func(s nft.TraceStep) nft.TracedPacket {
		p := tracedAt(nft.Request, nft.FateLeft, s)
		tr := nft.Translation{Step: 1}
		tr.Source.Before, tr.Source.After = traceSource, netip.MustParseAddrPort("192.0.2.2:1024")
		tr.Destination.Before, tr.Destination.After = traceTarget, traceTarget
		p.Translations = []nft.Translation{tr}
		return p
	}
	x := &trace{}
	service := packet(nat("kube-proxy", 100))
	service.Translations[0].Destination.After = traceSource
	if p, _ := translatedElsewhere([]nft.TracedPacket{packet(nat("masq", 99)), service, tracedAt(nft.Reply, nft.FateLeft, nat("x", 5))}); p != nil {
		t.Errorf("%+v", p)
	}
	for priority, severity := range map[int]report.Severity{50: report.SeverityError, 100: report.SeverityWarning} {
		p, s := translatedElsewhere([]nft.TracedPacket{packet(nat("masq", 99)), packet(nat("podman", priority))})
		if p == nil {
			t.Fatalf("priority %d: not found", priority)
		}
		if f := x.translatedBy(p, s, "pod a/b", "target"); f.Severity != severity || f.Object != "table inet podman, chain nat" {
			t.Errorf("%+v", f)
		}
		if got := stations(p); len(got) != 2 || got[1].Detail != "source 10.88.0.2 becomes 192.0.2.2" || got[1].Kind != OtherChain {
			t.Errorf("stations %+v", got)
		}
	}
}

// TestTraceIncomplete: if the kernel dropped messages of the trace, its findings stay, and the
// checks say that rules may be missing. The loss is not placed where the last message came from.
func TestTraceIncomplete(t *testing.T) {
	chain := nft.TraceStep{Kind: nft.TraceRule, Family: "inet", Table: "guard", Chain: "forward", BaseChain: "forward", Hook: "forward", Handle: 5}
	lost := tracedAt(nft.Request, nft.FateLost, chain)
	for _, incomplete := range []bool{false, true} {
		x := ProbedPath{Result: probe.Result{
			Target:     probe.Target{Address: traceTarget},
			Connection: probe.Connection{State: probe.Unanswered, Local: traceSource},
			Hops:       probe.Hops{Routers: []probe.Hop{{TTL: 1, Address: netip.MustParseAddr("10.88.0.1")}}},
		}}
		p := &ProbeFacts{
			Record: &store.Record{}, Paths: []ProbedPath{x},
			Trace: &trace{owners: tableOwners{}, Incomplete: incomplete, Packets: []nft.TracedPacket{tracedAt(nft.Request, nft.FateDropped, chain), lost}},
		}
		n := &Node{facts: map[string]any{}, Options: Options{Target: &Target{}}}
		if _, err := read(n, "probe", func() (*ProbeFacts, error) { return p, nil }); err != nil {
			t.Fatal(err)
		}
		r := Run(t.Context(), n, []Check{packetDropped})
		if len(r.Findings) != 1 || (len(r.NotChecked) == 1) != incomplete {
			t.Errorf("incomplete %t: findings %+v, not checked %+v", incomplete, r.Findings, r.NotChecked)
		}
		if last, _ := p.lastPoint(&x); (last == "the node") != incomplete {
			t.Errorf("incomplete %t: last seen at %q", incomplete, last)
		}
	}
}
