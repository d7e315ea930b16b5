package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// gauge measures the ports in use on the node, with the functions that the programs use.
type gauge struct {
	*portpool.Monitor
	conn  *conntrack.Conn
	pools *portpool.Pools
	at    time.Time
}

func (w *world) gauge(t testing.TB) *gauge {
	t.Helper()
	g := &gauge{Monitor: portpool.NewMonitor(portpool.Options{Groups: 10, ReusesClosed: portpool.ReusesClosed()}), at: time.Unix(1e9, 0)}
	assert.NoError(t, w.Node.Do(func() (err error) {
		g.conn, err = conntrack.Open()
		if err != nil {
			return err
		}
		records, err := store.Open(filepath.Join(w.dir, "state"))
		if err != nil {
			return err
		}
		all, err := records.All()
		g.pools = portpool.PoolsOf(report.DesiredOf(all, nil, func(netip.Addr) (bool, error) { return true, nil }).Attachments, nil, masq.Default())
		return err
	}))
	t.Cleanup(func() { assert.NoError(t, g.conn.Close()) })
	return g
}

// sample returns the next sample, one second after the last.
func (g *gauge) sample(t testing.TB) *portpool.Sample {
	t.Helper()
	g.at = g.at.Add(time.Second)
	return assert.Must(g.Sample(t.Context(), g.at, g.conn, g.pools))(t)
}

// of returns a group.
func (g *gauge) of(t testing.TB, s *portpool.Sample, proto uint8, to netip.AddrPort) portpool.Forecast {
	t.Helper()
	for _, p := range s.Groups {
		if p.Protocol == proto && p.Destination == to.Addr() && p.Port == to.Port() {
			return p
		}
	}
	t.Fatalf("no flows to %s among %+v", to, s.Groups)
	return portpool.Forecast{}
}

// portsTo counts with conntrack(8) the different ports in use towards a destination.
func (w *world) portsTo(t testing.TB, proto string, to netip.AddrPort) int {
	t.Helper()
	family := "ipv4"
	if to.Addr().Is6() {
		family = "ipv6"
	}
	out := assert.Must(w.Node.Command(soon(t), "conntrack", "-L", "-f", family, "-p", proto).Output())(t)
	used := map[string]bool{}
	answer := regexp.MustCompile(fmt.Sprintf(`src=%s dst=\S+ sport=%d dport=(\d+)`, regexp.QuoteMeta(to.Addr().String()), to.Port()))
	for _, m := range answer.FindAllSubmatch(out, -1) {
		used[string(m[1])] = true
	}
	return len(used)
}

// TestPortsRunOut has containers with few ports use them up, one connection per second. From
// half of the ports on, the time of exhaustion is predicted exactly. Then connections fail
// and are counted. The control is the same traffic with ports that the kernel chooses.
func TestPortsRunOut(t *testing.T) {
	const few = 20
	for _, tt := range []struct {
		toPorts string
		usable  int
	}{{"20000-20009,30000-30009", few}, {"20000-20019", few}, {"", 64512}} {
		t.Run("toPorts "+tt.toPorts, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"toPorts": tt.toPorts}))
			a, b := w.attach("a", list), w.attach("b", list)
			for _, plan := range w.Plans() {
				tcp, udp := w.servers(plan.Server)
				for _, x := range []struct {
					name  string
					proto uint8
					to    netip.AddrPort
				}{{"tcp", unix.IPPROTO_TCP, tcp}, {"udp", unix.IPPROTO_UDP, udp}} {
					w.useUp(t, []*pod{a, b}, x.name, x.proto, x.to, tt.usable)
				}
			}
		})
	}
}

// useUp opens connections until no port is left, or until it has tried often enough.
func (w *world) useUp(t *testing.T, pods []*pod, name string, proto uint8, to netip.AddrPort, usable int) {
	t.Helper()
	const tries = 200
	g := w.gauge(t)
	failed := g.sample(t).Lost.NoPort
	foreseen := map[int]time.Duration{} // predicted exhaustion, by the second of the prediction
	begun := map[int]time.Time{}
	opened, last := 0, portpool.Forecast{}
	for try := 0; opened < 20 && try < tries; try++ {
		// The kernel draws one of two ranges, which may be full although the other has free ports.
		if !g.opens(t, pods[try%len(pods)], name, to) {
			continue
		}
		opened++
		s := g.sample(t)
		last = g.of(t, s, proto, to)
		if n := w.portsTo(t, name, to); last.Used != n || n != opened || last.Usable != usable {
			t.Fatalf("%s to %s: %d opened, conntrack(8) counts %d: %+v", name, to, opened, n, last)
		}
		foreseen[opened], begun[opened] = last.ExhaustedIn, g.at
		if want := levelOf(opened, usable, last.ExhaustedIn); last.Severity != want {
			t.Errorf("%s to %s: %+v, want %s", name, to, last, want)
		}
	}
	if opened < 20 {
		t.Fatalf("%s to %s: only %d connections of %d tries", name, to, opened, tries)
	}
	if usable > opened { // control
		s := g.sample(t)
		if !g.opens(t, pods[0], name, to) || s.Lost.NoPort != failed || last.Severity != portpool.OK || last.ExhaustedIn < time.Hour {
			t.Errorf("%s to %s: %d failed, %+v", name, to, s.Lost.NoPort-failed, last)
		}
		return
	}
	for n := usable / 2; n < usable; n++ {
		if end := begun[n].Add(foreseen[n]); end.Sub(begun[usable]).Abs() > 100*time.Millisecond {
			t.Errorf("%s to %s: with %d of %d the end was foreseen in %s; it came after %s",
				name, to, n, usable, foreseen[n], begun[usable].Sub(begun[n]))
		}
	}
	before := g.sample(t)
	if g.opens(t, pods[0], name, to) {
		t.Errorf("%s to %s: one more than there are ports was answered", name, to)
	}
	after := g.sample(t)
	if after.Lost.NoPort <= before.Lost.NoPort || after.NewlyLost.NoPort != after.Lost.NoPort-before.Lost.NoPort || after.NewlyLost.NoRoom != 0 {
		t.Errorf("%s to %s: no failure counted: %+v", name, to, after)
	}
	if p := g.of(t, after, proto, to); p.Used != usable || p.Severity != portpool.Critical || p.ExhaustedIn != 0 {
		t.Errorf("%s to %s: %+v", name, to, p)
	}
}

// levelOf returns the expected severity of a share that only rises.
func levelOf(used, usable int, left time.Duration) portpool.Severity {
	share := float64(used) / float64(usable)
	switch {
	case share >= 0.95:
		return portpool.Critical
	case share >= 0.85, share >= 0.5 && left >= 0 && left <= 5*time.Minute:
		return portpool.Warning
	case share >= 0.7:
		return portpool.Notice
	}
	return portpool.OK
}

// opens opens a connection that stays open, and reports whether it is answered. If it is
// not, the kernel has dropped and counted its first packet.
func (g *gauge) opens(t testing.TB, p *pod, network string, to netip.AddrPort) bool {
	t.Helper()
	failed := g.failed(t)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	type result struct {
		net.Conn
		error
	}
	done := make(chan result, 1)
	go func() {
		c, err := opened(ctx, p, network, to)
		done <- result{c, err}
	}()
	var r result
	until(t, "a packet is answered or dropped", func() bool {
		select {
		case r = <-done:
			return true
		default:
		}
		if g.failed(t) > failed {
			cancel()
			r = <-done
			return true
		}
		return false
	})
	if r.error != nil {
		if g.failed(t) == failed {
			t.Fatalf("%s to %s: %v", network, to, r.error)
		}
		return false
	}
	t.Cleanup(func() { _ = r.Close() })
	return true
}

func (g *gauge) failed(t testing.TB) uint64 {
	t.Helper()
	return conntrack.Sum(assert.Must(g.conn.Statistics(t.Context()))(t)).InsertFailed
}

// opened returns a connection that the server has answered.
func opened(ctx context.Context, p *pod, network string, to netip.AddrPort) (net.Conn, error) {
	c, err := p.Dial(ctx, network, netip.AddrPort{}, to)
	if err != nil || network == "tcp" {
		return c, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = c.Write([]byte("x")); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// TestInspectPorts tests inspect's output before ports run out, when they have, and for a
// container with enough ports.
func TestInspectPorts(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	tight := w.attach("tight", w.conflist("1.1.0", w.masq().With(keys{"toPorts": "20000-20009"})))
	wide := w.attach("wide", w.conflist("1.1.0", w.masq()))
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 53)))(t)
	g := w.gauge(t)
	type answer struct {
		Groups []struct {
			Protocol, Level       string
			Egress, Destination   netip.Addr
			DestinationPort       uint16
			Ports                 []string
			Used, Usable, Closing int
			Share                 float64
			Rate, ExhaustedIn     *float64
			Holders               []report.PortHolder
		}
		Beyond    float64
		Failed    uint64
		FailedNow uint64
	}
	for n := range 8 {
		if !g.opens(t, tight, "udp", server.Addr()) {
			t.Fatalf("only %d of 10 ports", n)
		}
	}
	other := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 54)))(t)
	g.opens(t, wide, "udp", other.Addr())
	assert.NoError(t, wide.EchoUDP(soon(t), at(wide.addr(w.V4.Server), 700), server.Addr(), 1)) // uses another port pool
	_, err := wide.Ping(soon(t), w.V4.Server, nstest.PingOptions{})
	assert.NoError(t, err)

	x := inspect[answer](w, "ports", "--measure", "0")
	if len(x.Groups) != 3 || x.Failed != 0 || x.Beyond != 0 {
		t.Fatalf("%+v", x)
	}
	p := x.Groups[0]
	if p.Protocol != "udp" || p.Egress != w.V4.Node || p.Destination != w.V4.Server || p.DestinationPort != 53 || p.Used != 8 ||
		p.Usable != 10 || p.Share != 0.8 || p.Level != "notice" || p.Rate != nil || p.ExhaustedIn != nil || !slices.Equal(p.Ports, []string{"20000-20009"}) {
		t.Errorf("%+v", p)
	}
	if len(p.Holders) != 1 || p.Holders[0].ContainerID != tight.runtime.ContainerID || p.Holders[0].Ports != 8 || p.Holders[0].Address != tight.addr(w.V4.Server) {
		t.Errorf("%+v", p.Holders)
	}
	if q := x.Groups[1]; q.DestinationPort != 54 || q.Used != 1 || q.Usable != 64512 || q.Level != "ok" {
		t.Errorf("%+v", q)
	}
	if q := x.Groups[2]; q.Protocol != "icmp" || q.DestinationPort != 0 || q.Usable != 65536 {
		t.Errorf("%+v", q)
	}
	if x := inspect[answer](w, "ports", "--measure", "10ms", "--limit", "1"); len(x.Groups) != 1 || x.Groups[0].Rate == nil || *x.Groups[0].Rate != 0 || x.Beyond != 1./64512 {
		t.Errorf("%+v", x)
	}
	for range 2 {
		g.opens(t, tight, "udp", server.Addr())
	}
	if g.opens(t, tight, "udp", server.Addr()) {
		t.Error("an eleventh flow had a port")
	}
	x = inspect[answer](w, "ports", "--measure", "0")
	if p := x.Groups[0]; p.Used != 10 || p.Level != "critical" || p.ExhaustedIn == nil || *p.ExhaustedIn != 0 || x.Failed != 1 {
		t.Errorf("%+v, %d failed", p, x.Failed)
	}
	if !slices.ContainsFunc(inspect[report.Node](w).Problems, func(p report.Problem) bool {
		return p.Kind == report.KindPortsScarce && strings.HasPrefix(p.Object, "source ports of ") && strings.HasPrefix(p.Message, "are 100 % in use") && strings.HasSuffix(p.Message, "held by tight 10")
	}) {
		t.Error("inspect does not say which pod holds the ports that run out")
	}
	out := string(assert.Must(w.command(w.Node, "inspect", "ports", "--measure", "1ms", "-o", "wide").Output())(t))
	for _, words := range []string{"10/10 ", "100.0%  critical  none  tight 10", "20000-20009", "192.0.2.", ":53", "type 8", "1 packet dropped since boot, 0 just now: no source port was free."} {
		if !strings.Contains(out, words) {
			t.Errorf("missing %q in\n%s", words, out)
		}
	}
	for _, args := range [][]string{{"--limit", "0"}, {"--limit", "501"}, {"--measure", "-1s"}} {
		if out, err := w.command(w.Node, append([]string{"inspect", "ports"}, args...)...).CombinedOutput(); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
