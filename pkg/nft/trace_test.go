package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// traceLab is a node that forwards between a container and a server.
type traceLab struct {
	*nstest.Topology
	t   *testing.T
	pod *nstest.NS
}

var (
	podV4, gatewayV4 = netip.MustParsePrefix("10.88.0.2/24"), netip.MustParsePrefix("10.88.0.1/24")
	podV6, gatewayV6 = netip.MustParsePrefix("fd00:88::2/64"), netip.MustParsePrefix("fd00:88::1/64")
)

func newTraceLab(t *testing.T) *traceLab {
	t.Helper()
	lab := nstest.New(t)
	topology, err := lab.Topology(nstest.Uplink{})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := lab.Namespace("pod")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		nstest.Connect(nstest.End{NS: pod, Name: "eth0", Addresses: []netip.Prefix{podV4, podV6}},
			nstest.End{NS: topology.Node, Name: "vethpod", Addresses: []netip.Prefix{gatewayV4, gatewayV6}}, 1500),
		pod.Route(netip.MustParsePrefix("0.0.0.0/0"), gatewayV4.Addr()),
		pod.Route(netip.MustParsePrefix("::/0"), gatewayV6.Addr()),
		topology.Node.Forward())
	if err != nil {
		t.Fatal(err)
	}
	return &traceLab{topology, t, pod}
}

// run runs a program in the node.
func (l *traceLab) run(name string, args ...string) {
	l.t.Helper()
	if out, err := l.Node.Command(l.t.Context(), name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// nft changes the node's ruleset.
func (l *traceLab) nft(ruleset string) { l.t.Helper(); l.run("nft", ruleset) }

const masquerading = `table inet masq { chain postrouting { type nat hook postrouting priority 99; ip saddr 10.88.0.0/24 masquerade comment "masquerade/v4"; ip6 saddr fd00:88::/64 masquerade comment "masquerade/v6"; }; }`

// trace opens a Tracer in the node.
func (l *traceLab) trace(flows ...TraceFlow) *Tracer {
	l.t.Helper()
	var x *Tracer
	if err := l.Node.Do(func() (err error) { x, err = OpenTracer(l.t.Context(), flows...); return err }); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = x.Close() })
	return x
}

// wait reads packets until enough returns true.
func (l *traceLab) wait(x *Tracer, enough func([]TracedPacket) bool) []TracedPacket {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	for {
		all, complete, err := x.Packets(ctx)
		if err != nil || !complete {
			l.t.Fatalf("complete: %t, %v; traced:\n%s", complete, err, described(all))
		}
		if enough(all) {
			return all
		}
		select {
		case <-ctx.Done():
			l.t.Fatalf("traced:\n%s", described(all))
		case <-time.After(time.Millisecond):
		}
	}
}

// described returns the packets for a failed test.
func described(all []TracedPacket) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "%s from %q to %q: %+v -> %+v: %s %s, translations %+v\n", p.Role, p.In, p.Out, p.First, p.Last, p.Fate, p.After, p.Translations)
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "\t%s %s %s %s [%s %s %s %d] %s: %q %+v\n", s.Kind, s.Family, s.Table, s.Chain, s.BaseChain, s.Type, s.Hook, s.Priority, s.Verdict, s.Rule.Comment, s.Rule)
		}
	}
	return b.String()
}

// find returns the first packet of a role.
func find(all []TracedPacket, role PacketRole) (TracedPacket, bool) {
	i := slices.IndexFunc(all, func(p TracedPacket) bool { return p.Role == role })
	if i < 0 {
		return TracedPacket{}, false
	}
	return all[i], true
}

// server serves TCP and UDP on port 80.
func (l *traceLab) server(p nstest.Plan) netip.AddrPort {
	l.t.Helper()
	at := netip.AddrPortFrom(p.Server, 80)
	if _, err := l.Server.ServeTCP(at); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.Server.ServeUDP(at); err != nil {
		l.t.Fatal(err)
	}
	return at
}

// TestTracePasses traces flows that pass, in both directions and through a translation. It
// does not trace other flows.
func TestTracePasses(t *testing.T) {
	l := newTraceLab(t)
	l.nft(masquerading)
	ctx := t.Context()
	for i, plan := range l.Plans() {
		at := l.server(plan)
		pod := []netip.Addr{podV4.Addr(), podV6.Addr()}[i]
		other := netip.AddrPortFrom(pod, 5000)
		icmp := []uint8{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}[i]
		for _, x := range []struct {
			flow TraceFlow
			send func() error
		}{
			{TraceFlow{unix.IPPROTO_TCP, netip.AddrPortFrom(pod, 0), at}, func() error {
				_, err := l.pod.Download(ctx, at, 10)
				return errors.Join(err, l.pod.EchoUDP(ctx, other, at, 10))
			}},
			{TraceFlow{unix.IPPROTO_UDP, netip.AddrPortFrom(pod, 4000), at}, func() error {
				return errors.Join(l.pod.EchoUDP(ctx, other, at, 10), l.pod.EchoUDP(ctx, netip.AddrPortFrom(pod, 4000), at, 10))
			}},
			{TraceFlow{icmp, netip.AddrPortFrom(pod, 0), netip.AddrPortFrom(plan.Server, 0)}, func() error {
				r, err := l.pod.Ping(ctx, plan.Server, nstest.PingOptions{})
				if err == nil && !r.Reply() {
					err = fmt.Errorf("%+v", r)
				}
				return err
			}},
		} {
			tracer := l.trace(x.flow)
			if err := x.send(); err != nil {
				t.Fatal(err)
			}
			all := l.wait(tracer, func(all []TracedPacket) bool { p, ok := find(all, Reply); return ok && p.Fate == FateLeft })
			p, _ := find(all, Request)
			if p.Fate != FateLeft || p.In != "vethpod" || p.Out != "uplink" || p.First.Source.Addr() != pod || p.Last.Source.Addr() != plan.Node || len(p.Translations) != 1 {
				t.Errorf("request:\n%s", described(all))
				continue
			}
			tr := p.Translations[0]
			if tr.Source.Before.Addr() != pod || tr.Source.After.Addr() != plan.Node || tr.Step < 0 {
				t.Errorf("request:\n%s", described(all))
				continue
			}
			if s := p.Steps[tr.Step]; s.Rule.NAT != "masquerade" || !strings.HasPrefix(s.Rule.Comment, "masquerade/") || s.Hook != "postrouting" || s.Priority != 99 || s.Type != "nat" || s.Family != "inet" || s.Table != "masq" || s.BaseChain != "postrouting" {
				t.Errorf("translated by %+v\n%s", s, described(all))
			}
			r, _ := find(all, Reply)
			if r.In != "uplink" || r.Out != "vethpod" || r.First.Destination.Addr() != plan.Node || r.Last.Destination.Addr() != pod || len(r.Translations) != 1 || r.Translations[0].Step != -1 {
				t.Errorf("reply:\n%s", described(all))
			}
			for _, p := range all {
				if p.First.Protocol != x.flow.Protocol || p.First.Source == other || p.First.Destination == other {
					t.Errorf("a packet of another flow:\n%s", described(all))
				}
			}
			if err := tracer.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestTraceDrops: a packet that a table drops or rejects names the rule, whoever made it.
func TestTraceDrops(t *testing.T) {
	for name, x := range map[string]struct {
		fault     func(l *traceLab)
		is        string // family, table, chain, base chain, hook, priority
		fate      Fate
		text      string
		comment   string
		answered  bool // by an ICMP error or a reset
		answering PacketRole
	}{
		"nft": {
			fault: func(l *traceLab) {
				l.nft(`table inet filter { chain deep { ip daddr 198.51.100.0/24 tcp dport 80 counter drop comment "no web"; }; chain f { type filter hook forward priority 5; policy accept; iifname "vethpod" jump deep; }; }`)
			},
			is: "inet filter deep f forward 5", fate: FateDropped, comment: "no web", text: `ip daddr 198.51.100.0/24 tcp dport 80 counter packets 1 bytes 60 drop`,
		},
		"policy": {
			fault: func(l *traceLab) {
				l.nft(`table ip6 calm { chain c { type filter hook forward priority 0; policy drop; }; }
					table ip closed { chain c { type filter hook forward priority -1; policy drop; ct state established accept; }; }`)
			},
			is: "ip closed c c forward -1", fate: FateDropped,
		},
		"before conntrack": {
			fault: func(l *traceLab) {
				l.nft(`table netdev early { chain c { type filter hook ingress device "vethpod" priority 0; }; }
					table ip raw { chain c { type filter hook prerouting priority -300; tcp dport 80 drop; }; }`)
			},
			is: "ip raw c c prerouting -300", fate: FateDropped, text: "tcp dport 80 drop",
		},
		"rejected by nft": {
			fault: func(l *traceLab) {
				l.nft(`table inet filter { chain f { type filter hook forward priority 0; tcp dport 80 reject with tcp reset; }; }`)
			},
			is: "inet filter f f forward 0", fate: FateRejected, text: "tcp dport 80 reject", answered: true, answering: Reply,
		},
		"rejected by iptables-nft": {
			fault: func(l *traceLab) {
				l.run("iptables-nft", "-N", "DOCKER-USER")
				l.run("iptables-nft", "-A", "FORWARD", "-j", "DOCKER-USER")
				l.run("iptables-nft", "-A", "DOCKER-USER", "-s", "10.88.0.0/24", "-m", "comment", "--comment", "office hours", "-j", "REJECT")
			},
			is: "ip filter DOCKER-USER FORWARD forward 0", fate: FateRejected, comment: "office hours",
			text: "ip saddr 10.88.0.0/24 counter packets 1 bytes 60 reject", answered: true, answering: ICMPError,
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTraceLab(t)
			l.nft(masquerading)
			at := l.server(l.V4)
			flow := TraceFlow{unix.IPPROTO_TCP, netip.AddrPortFrom(podV4.Addr(), 0), at}
			healthy := l.trace(flow)
			if _, err := l.pod.Download(t.Context(), at, 10); err != nil {
				t.Fatal(err)
			}
			all := l.wait(healthy, func(all []TracedPacket) bool { p, ok := find(all, Request); return ok && p.Fate == FateLeft })
			for _, p := range all {
				if p.Fate == FateDropped || p.Fate == FateRejected {
					t.Errorf("before the fault:\n%s", described(all))
				}
			}
			x.fault(l)
			tracer := l.trace(flow)
			syn := nstest.TCPPacket(nstest.Segment{Src: netip.AddrPortFrom(podV4.Addr(), 4001), Dst: at, Flags: nstest.SYN, MSS: 536, Payload: make([]byte, 16)})
			if err := l.pod.SendRaw(syn); err != nil {
				t.Fatal(err)
			}
			all = l.wait(tracer, func(all []TracedPacket) bool {
				p, ok := find(all, Request)
				answer, answered := find(all, x.answering)
				return ok && p.Fate == x.fate && (!x.answered || answered && answer.Fate == FateLeft)
			})
			p, _ := find(all, Request)
			s := p.Steps[len(p.Steps)-1]
			if got := fmt.Sprint(s.Family, " ", s.Table, " ", s.Chain, " ", s.BaseChain, " ", s.Hook, " ", s.Priority); got != x.is || s.Rule.Text != x.text || s.Rule.Comment != x.comment || s.Verdict != "drop" {
				t.Errorf("dropped by %s, %q %q\n%s", got, s.Rule.Text, s.Rule.Comment, described(all))
			}
		})
	}
}

// TestTraceLost: a packet that vanishes outside of nf_tables is located between two hooks.
func TestTraceLost(t *testing.T) {
	for name, x := range map[string]struct {
		fault func(l *traceLab) error
		after TracePlace
	}{
		"forwarding off": {func(l *traceLab) error { return l.Node.Sysctl("net.ipv4.conf.vethpod.forwarding", "0") }, TracePlace{"prerouting", true}},
		"no route":       {func(l *traceLab) error { l.run("ip", "route", "del", "default"); return nil }, TracePlace{"prerouting", true}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTraceLab(t)
			l.nft(masquerading)
			if err := x.fault(l); err != nil {
				t.Fatal(err)
			}
			at := netip.AddrPortFrom(l.V4.Server, 80)
			tracer := l.trace(TraceFlow{unix.IPPROTO_UDP, netip.AddrPortFrom(podV4.Addr(), 0), at})
			if err := l.pod.SendRaw(nstest.UDPPacket(netip.AddrPortFrom(podV4.Addr(), 4002), at, []byte("x"))); err != nil {
				t.Fatal(err)
			}
			all := l.wait(tracer, func(all []TracedPacket) bool { p, ok := find(all, Request); return ok && p.After.Passed })
			if p, _ := find(all, Request); p.Fate != FateLost || p.After != x.after {
				t.Error(described(all))
			}
		})
	}
}

// TestTraceBridge: packets of a container behind a bridge are traced through tables of the family
// bridge and through IP tables, also with bridge-nf-call-iptables.
func TestTraceBridge(t *testing.T) {
	for _, calls := range []string{"0", "1"} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprintf("bridge-nf-call-iptables %s, table %t", calls, table), func(t *testing.T) {
				l := newTraceLab(t)
				l.nft(masquerading)
				l.run("ip", "link", "add", "br0", "type", "bridge")
				l.run("ip", "link", "set", "br0", "up")
				l.run("ip", "addr", "flush", "dev", "vethpod")
				l.run("ip", "link", "set", "vethpod", "master", "br0")
				l.run("ip", "addr", "add", gatewayV4.String(), "dev", "br0")
				if err := l.Node.Sysctl("net.bridge.bridge-nf-call-iptables", calls); err != nil {
					t.Fatal(err)
				}
				at := l.server(l.V4)
				flow := TraceFlow{unix.IPPROTO_UDP, podAddrPort(), at}
				if table {
					l.nft(`table bridge filter { chain input { type filter hook input priority 0; ether type ip udp dport 81 drop; }; }`)
				}
				tracer := l.trace(flow)
				if err := l.pod.EchoUDP(t.Context(), netip.AddrPort{}, at, 10); err != nil {
					t.Fatal(err)
				}
				all := l.wait(tracer, func(all []TracedPacket) bool { p, ok := find(all, Reply); return ok && p.Fate == FateLeft })
				if p, _ := find(all, Request); p.Fate != FateLeft || p.Out != "uplink" || len(all) != 2 {
					t.Errorf("through a bridge:\n%s", described(all))
				}
				is := "forward"
				if table {
					is = "input"
					l.nft(`add rule bridge filter input ip daddr ` + at.Addr().String() + ` drop comment "closed"`)
				} else {
					l.nft(`table ip filter { chain forward { type filter hook forward priority 0; ip daddr ` + at.Addr().String() + ` drop comment "closed"; }; }`)
				}
				tracer = l.trace(flow)
				if err := l.pod.SendRaw(nstest.UDPPacket(netip.AddrPortFrom(podV4.Addr(), 4004), at, []byte("x"))); err != nil {
					t.Fatal(err)
				}
				all = l.wait(tracer, func(all []TracedPacket) bool { return len(all) > 0 && all[0].Fate == FateDropped })
				p := all[0]
				if s := p.Steps[len(p.Steps)-1]; len(all) != 1 || s.Hook != is || s.Rule.Comment != "closed" || s.Rule.Text != "ip daddr 198.51.100.2 drop" || p.Role != Request {
					t.Errorf("dropped:\n%s", described(all))
				}
			})
		}
	}
}

// tables returns the Tracers' tables of the node.
func (l *traceLab) tables() (out []string) {
	l.t.Helper()
	b, err := l.Node.Command(l.t.Context(), "nft", "list", "tables").Output()
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, traceTable) {
			out = append(out, line)
		}
	}
	return out
}

// TestTracerTable: a Tracer's table exists until Close, until its context ends, and until its
// process is killed. Two Tracers do not disturb each other, and the table is not a firewall.
func TestTracerTable(t *testing.T) {
	l := newTraceLab(t)
	l.nft(masquerading)
	at := l.server(l.V4)
	flow := TraceFlow{unix.IPPROTO_UDP, netip.AddrPortFrom(podV4.Addr(), 0), at}
	first, second := l.trace(flow), l.trace(flow)
	if all := l.tables(); len(all) != 2 {
		t.Errorf("tables %q", all)
	}
	l.run("nft", "flush", "ruleset") // as a firewall does when it starts
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if all := l.tables(); len(all) != 1 {
		t.Errorf("after Close of one: %q", all)
	}
	if err := l.pod.SendRaw(nstest.UDPPacket(netip.AddrPortFrom(podV4.Addr(), 4003), at, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	l.wait(second, func(all []TracedPacket) bool { p, ok := find(all, Request); return ok && p.Fate == FateLeft })
	err := l.Node.Do(func() error {
		c, err := Open()
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if all, err := c.OtherBaseChains(); err != nil || len(all) > 0 {
			t.Errorf("firewalls %+v, %v", all, err)
		}
		return nil
	})
	if err := errors.Join(err, second.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := second.Packets(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Node.Do(func() error { _, err := OpenTracer(ctx, flow); return err }); err != nil {
		t.Fatal(err)
	}
	if all := l.tables(); len(all) != 1 {
		t.Errorf("with a context: %q", all)
	}
	cancel()
	l.noTable("the context ended")

	holder := l.Node.Command(t.Context(), os.Args[0], "-test.run=^TestHoldTracer$")
	holder.Env = append(os.Environ(), holdTracer+"="+at.String())
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if all := l.tables(); len(all) != 1 {
		t.Errorf("another process: %q", all)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	l.noTable("its process was killed")
}

// noTable waits until no Tracer's table exists.
func (l *traceLab) noTable(after string) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); len(l.tables()) > 0; {
		if time.Now().After(end) {
			l.t.Fatalf("a table remains after %s: %q", after, l.tables())
		}
	}
}

// holdTracer is an environment variable with a destination.
const holdTracer = "MASQ_TEST_HOLD_TRACER"

// TestHoldTracer is the process that TestTracerTable kills.
func TestHoldTracer(t *testing.T) {
	to := os.Getenv(holdTracer)
	if to == "" {
		return
	}
	if _, err := OpenTracer(t.Context(), TraceFlow{unix.IPPROTO_UDP, podAddrPort(), netip.MustParseAddrPort(to)}); err != nil {
		t.Fatal(err)
	}
	fmt.Print("x")
	time.Sleep(time.Hour) // it is killed
}

func podAddrPort() netip.AddrPort { return netip.AddrPortFrom(podV4.Addr(), 0) }
