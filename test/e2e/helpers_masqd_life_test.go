package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestRTSPByMasqdSamePorts: two containers that announce the same ports receive their own
// streams.
func TestRTSPByMasqdSamePorts(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	list := w.conflist("1.1.0", w.helped())
	for _, plan := range w.Plans() {
		s := w.craftedServer(plan.Server)
		type stream struct {
			client *craftedClient
			ports  [2]uint16
		}
		var all []stream
		for _, id := range []string{"a", "b"} {
			p := w.attach(id+strconv.Itoa(plan.Node.BitLen()), list)
			w.redirected(p)
			c := p.rtsp(t, plan.Server)
			c.setup()
			all = append(all, stream{c, s.toldPorts()})
		}
		if all[0].ports == all[1].ports {
			t.Fatalf("the server was told the ports %v twice", all[0].ports)
		}
		for range 2 {
			for _, x := range all {
				s.streams(x.client, plan.Node, x.ports)
			}
		}
	}
}

// TestRTSPByMasqdPolicy: a control connection and its media leave with one of the egress
// addresses and with ports of the container's policy, and reach direct destinations
// unchanged.
func TestRTSPByMasqdPolicy(t *testing.T) {
	w := newManyAddresses(t)
	w.knowPods()
	w.daemon()
	all := slices.Concat(egressAddresses...)
	conf := w.helped().With(keys{"snatAddresses": all, "toPorts": "20000-29999"})
	p := w.attach("a", w.conflist("1.1.0", conf))
	direct := w.attach("direct", w.conflist("1.1.0", conf.With(keys{"nonMasqueradeCIDRs": []netip.Prefix{w.V4.ServerNet, w.V6.ServerNet}})))
	w.redirected(p)
	w.redirected(direct)
	for _, plan := range w.Plans() {
		s := w.craftedServer(plan.Server)
		other := p.rtsp(t, plan.Server)
		for i := range 8 {
			c := other
			if i > 0 {
				c = p.rtspAgain(t, plan.Server, other)
			}
			c.setup()
			source, ports := s.sources[i], s.toldPorts()
			if !slices.Contains(all, source.Addr()) || source.Port() < 20000 || source.Port() > 29999 || ports[0] < 20000 || ports[1] > 29999 {
				t.Errorf("a connection from %s, media at %v", source, ports)
			}
			s.streams(c, source.Addr(), ports)
			if status, _, err := c.request("TEARDOWN", ""); status != 200 || err != nil {
				t.Fatalf("TEARDOWN: status %d, %v", status, err)
			}
			assert.NoError(t, c.Close())
		}
		c := direct.rtsp(t, plan.Server)
		c.setup()
		own := direct.addr(plan.Node)
		if got := s.lastSetup(); got != "SETUP "+craftedTransport || s.sources[len(s.sources)-1].Addr() != own {
			t.Errorf("a direct destination got %q from %s", got, s.sources[len(s.sources)-1])
		}
		s.streams(c, own, s.toldPorts())
	}
}

// TestRTSPByMasqdEnds ends masqd during a stream, also by SIGKILL. The media continue, and
// control connections do not hang: open ones end, and new ones reach the server unread.
// After a restart masqd reads new ones again.
func TestRTSPByMasqdEnds(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		t.Run(unix.SignalName(signal), func(t *testing.T) { endDuringStream(t, signal) })
	}
}

func endDuringStream(t *testing.T, signal unix.Signal) {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	plan := w.V4
	s := w.craftedServer(plan.Server)
	c := p.rtsp(t, plan.Server)
	c.setup()
	ports := s.toldPorts()
	s.streams(c, plan.Node, ports)

	// Others connect all the time.
	stop := make(chan struct{})
	var connecting sync.WaitGroup
	for range 4 {
		connecting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				other, err := p.Dial(soon(t), "tcp", netip.AddrPort{}, at(plan.Server, 554))
				if err != nil {
					if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("a new connection: %v", err)
					}
					continue
				}
				_ = other.SetDeadline(deadlineOf(t))
				if _, err := other.Write([]byte("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")); err == nil {
					_, err = other.Read(make([]byte, 100))
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("a connection hangs")
					}
				}
				_ = other.Close()
			}
		})
	}
	assert.NoError(t, d.Process.Signal(signal))
	if err := d.Wait(); err != nil && signal == unix.SIGTERM {
		t.Errorf("masqd ended with %v", err)
	}
	// At once, without a retry.
	direct := p.rtspAgain(t, plan.Server, c)
	direct.setup()
	if got := s.lastSetup(); got != "SETUP "+craftedTransport {
		t.Errorf("without masqd, the server got %q", got)
	}
	close(stop)
	connecting.Wait()
	// A masqd that is killed may have unread data, which makes the kernel reset the connection.
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && (signal == unix.SIGTERM || !errors.Is(err, unix.ECONNRESET)) {
		t.Errorf("the open connection: %v, want its end", err)
	}
	s.streams(c, plan.Node, ports)

	w.daemon()
	w.redirected(p)
	s.streams(c, plan.Node, ports)
	again := p.rtspAgain(t, plan.Server, c)
	// Other ports: a stream with the same ones would take the place of the old one.
	const transport = "RTP/AVP;unicast;client_port=5002-5003"
	if status, _, err := again.request("SETUP", transport); err != nil || status != 200 || s.lastSetup() == "SETUP "+transport {
		t.Errorf("after the restart: status %d, %v; the server got %q", status, err, s.lastSetup())
	}

	// The new masqd ends the media of the old one with their attachment.
	hasFlow := func() bool {
		return strings.Contains(w.nodeRun("conntrack", "-L", "-p", "udp", "--orig-src", p.addr(plan.Node).String()), fmt.Sprintf("dport=%d ", ports[0]))
	}
	s.streams(c, plan.Node, ports)
	if !hasFlow() {
		t.Fatal("the node has no flow of the stream")
	}
	w.attach("b", w.conflist("1.1.0", w.masq())) // without an attachment, the node has no rules, and tracks no flows
	p.detach()
	until(t, "the node has no flow of the stream", func() bool {
		// Renews the flow: it must not end by its timeout.
		assert.Must(s.udp[0].WriteToUDPAddrPort([]byte("media"), at(plan.Node, ports[0])))(t)
		return !hasFlow()
	})
}

// TestRTSPByMasqdPortOfTheNode: a server is never told a port that a socket of the node has.
func TestRTSPByMasqdPortOfTheNode(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped().With(keys{"toPorts": "20000-20001"})))
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	service := assert.Must(w.Node.ListenUDP(at(w.V4.Node, 20001)))(t)
	c := p.rtsp(t, w.V4.Server)
	if status, _, err := c.request("SETUP", craftedTransport); err != nil || status != 461 || s.lastSetup() != "" {
		t.Errorf("status %d, %v; the server got %q", status, err, s.lastSetup())
	}
	if got := d.metric(`masq_helper_refused_total{helper="rtsp",reason="no-ports"}`); got != "1" {
		t.Errorf("%s refusals are counted", got)
	}
	// Control: without the socket.
	assert.NoError(t, service.Close())
	until(t, "the ports are free", func() bool {
		status, _, err := c.request("SETUP", craftedTransport)
		assert.NoError(t, err)
		return status == 200
	})
	s.streams(c, w.V4.Node, [2]uint16{20000, 20001})
}

// TestRTSPByMasqdAddressChanges: masqd listens at another address when the node's changes.
func TestRTSPByMasqdAddressChanges(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net.ipv4.conf.all.promote_secondaries", "1"))
	w.daemon()
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	c := p.rtsp(t, w.V4.Server)
	c.setup()
	second := w.V4.Node.Next()
	if second == w.V4.Router {
		second = second.Next()
	}
	assert.NoError(t, w.Node.AddAddress("uplink", netip.PrefixFrom(second, w.V4.UplinkNet.Bits())))
	assert.NoError(t, w.Node.RemoveAddress("uplink", netip.PrefixFrom(w.V4.Node, w.V4.UplinkNet.Bits())))
	until(t, "connections are redirected to the new address", func() bool {
		return strings.Contains(w.nodeRun("nft", "list", "ruleset"), "dnat ip to "+second.String())
	})
	again := p.rtspAgain(t, w.V4.Server, c)
	again.setup()
	s.streams(again, second, s.toldPorts())
}

// TestRTSPByMasqdDeleted deletes an attachment during streams: its control connections and
// its media end, and those of another attachment continue.
func TestRTSPByMasqdDeleted(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	list := w.conflist("1.1.0", w.helped())
	p, other := w.attach("a", list), w.attach("b", list)
	w.redirected(p)
	w.redirected(other)
	type stream struct {
		server *craftedServer
		client *craftedClient
		node   netip.Addr
		ports  [2]uint16
	}
	var ends, stays []stream
	for _, plan := range w.Plans() {
		s := w.craftedServer(plan.Server)
		for of, all := range map[*pod]*[]stream{p: &ends, other: &stays} {
			c := of.rtsp(t, plan.Server)
			c.setup()
			x := stream{s, c, plan.Node, s.toldPorts()}
			s.streams(c, plan.Node, x.ports)
			*all = append(*all, x)
		}
	}
	hasFlow := func(x stream) bool {
		family := map[bool]string{true: "ipv4", false: "ipv6"}[x.node.Is4()]
		return strings.Contains(w.nodeRun("conntrack", "-L", "-f", family, "-p", "udp"), fmt.Sprintf("dport=%d ", x.ports[0]))
	}
	for _, x := range ends {
		if !hasFlow(x) {
			t.Fatalf("the node has no flow of the stream to %s", at(x.node, x.ports[0]))
		}
	}
	p.detach()
	for i, x := range ends {
		until(t, "the connection has ended", func() bool { return x.server.connections() == 1 })
		until(t, "the node has no flow of the stream", func() bool { return !hasFlow(x) })
		s := stays[i]
		s.server.streams(s.client, s.node, s.ports)
		if _, _, err := s.client.request("OPTIONS", ""); err != nil {
			t.Errorf("the connection of another attachment: %v", err)
		}
	}
}

// TestRTSPByMasqdTakenAway takes the helper from the node's policy during a stream: the stream
// continues, and ends with its attachment.
func TestRTSPByMasqdTakenAway(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.daemon("--config", w.writeConfig("helpers: {rtsp: []}\n"))
	list := w.conflist("1.1.0", w.masq()) // without a key of a policy
	p := w.attach("a", list)
	w.attach("b", list) // without an attachment, the node has no rules, and tracks no flows
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	c := p.rtsp(t, w.V4.Server)
	c.setup()
	ports := s.toldPorts()
	w.writeConfig("{}\n")
	until(t, "the table is deleted", func() bool { return !strings.Contains(w.nodeRun("nft", "list", "tables"), "masq-helpers") })
	s.streams(c, w.V4.Node, ports)
	flow := fmt.Sprintf("src=%s dst=%s sport=%d", p.addr(w.V4.Server), w.V4.Server, craftedClientPort)
	hasFlow := func() bool { // renews the flow
		_, _ = s.udp[0].WriteToUDPAddrPort([]byte("media"), at(w.V4.Node, ports[0]))
		return strings.Contains(w.nodeRun("conntrack", "-L", "-p", "udp"), flow)
	}
	if !hasFlow() {
		t.Fatal("the node has no flow of the stream")
	}
	p.detach()
	until(t, "the node has no flow of the stream", func() bool { return !hasFlow() })
	until(t, "the connection has ended", func() bool { return s.connections() == 0 })
}

// TestRTSPByMasqdUnreadableRecord: a record that cannot be read is no proof that its attachment
// is deleted: the stream continues.
func TestRTSPByMasqdUnreadableRecord(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	list := w.conflist("1.1.0", w.helped())
	p := w.attach("a", list)
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	c := p.rtsp(t, w.V4.Server)
	c.setup()
	ports := s.toldPorts()
	s.streams(c, w.V4.Node, ports)
	good := assert.Must(os.ReadFile(p.recordPath()))(t)
	newer := strings.Replace(string(good), `"version":1`, `"version":2`, 1)
	w.replaceFile(p.recordPath(), []byte(newer))
	until(t, "the record is unreadable", func() bool { return d.metric("masq_unreadable_records") == "1" })
	w.redirected(w.attach("b", list)) // after a sync that could have ended the session
	s.streams(c, w.V4.Node, ports)
	if _, _, err := c.request("OPTIONS", ""); err != nil {
		t.Errorf("the connection: %v", err)
	}
	w.replaceFile(p.recordPath(), good)
}

// TestRTSPByMasqdInTheNATLog: the log attributes masqd's connection to a server, and the
// media, to the container.
func TestRTSPByMasqdInTheNATLog(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	dir := filepath.Join(w.dir, "nat-log")
	w.daemon("--nat-log", dir)
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	c := p.rtsp(t, w.V4.Server)
	c.setup()
	ports := s.toldPorts()
	s.streams(c, w.V4.Node, ports)
	for _, q := range []natlog.Query{{Addr: s.sources[0], Proto: unix.IPPROTO_TCP}, {Addr: at(w.V4.Node, ports[0]), Proto: unix.IPPROTO_UDP}} {
		var a *natlog.Answer
		until(t, "the flow is in the log", func() bool {
			a = assert.Must(natlog.Find(t.Context(), dir, q))(t)
			return len(a.Flows) == 1
		})
		if f := a.Flows[0]; f.Owner.ContainerID != "a" || f.Original.Src.Addr() != p.addr(w.V4.Node) {
			t.Errorf("%s: %+v", q.Addr, f)
		}
	}
	// The control: a connection of the node itself to the same server.
	own := assert.Must(w.Node.Dial(soon(t), "tcp", netip.AddrPort{}, at(w.V4.Server, 554)))(t)
	defer own.Close()
	a := assert.Must(natlog.Find(t.Context(), dir, natlog.Query{Addr: own.LocalAddr().(*net.TCPAddr).AddrPort(), Proto: unix.IPPROTO_TCP}))(t)
	if len(a.Flows) != 0 {
		t.Errorf("a connection of the node is in the log: %+v", a.Flows)
	}
}

// TestRTSPByMasqdForSources: containers of another plugin use the node's policy.
func TestRTSPByMasqdForSources(t *testing.T) {
	s := newSourced(t)
	text := "nonMasqueradeCIDRs: [10.0.0.0/8, \"fd00::/8\"]\nsourceCIDRs: %s\n"
	path := s.writeConfig(fmt.Sprintf(text, podSources))
	d := s.daemon("--config", path)
	s.translated()
	for _, plan := range s.Plans() {
		server := s.craftedServer(plan.Server)
		c := s.pod.rtsp(t, plan.Server)
		c.setup()
		if got := server.lastSetup(); got != "SETUP "+craftedTransport {
			t.Errorf("without the helper, the server got %q", got)
		}
		s.writeConfig(fmt.Sprintf(text, podSources) + "helpers: {rtsp: []}\n")
		until(t, "connections of sources are redirected", func() bool {
			return strings.Contains(s.nodeRun("nft", "list", "ruleset"), "tcp dport 554 goto redirect-")
		})
		again := s.pod.rtspAgain(t, plan.Server, c)
		again.setup()
		ports := server.toldPorts()
		server.streams(again, plan.Node, ports)
		s.writeConfig(fmt.Sprintf(text, podSources))
		until(t, "the table is deleted", func() bool { return !strings.Contains(s.nodeRun("nft", "list", "ruleset"), "masq-helpers") })
	}
	if got := d.metric(`masq_helper_opened_total{helper="rtsp"}`); got != "4" {
		t.Errorf("%s ports were opened", got)
	}
}

// TestHelpersOfMasqdRest: while nothing happens, masqd makes no transaction, although a
// container has a helper and an open stream. Without helpers it has no table and no listener.
func TestHelpersOfMasqdRest(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon("--resync-interval", "1s")
	listens := func() string { return w.nodeRun("ss", "-Hlntup", "src", w.V4.Node.String()) }
	plain := w.attach("plain", w.conflist("1.1.0", w.masq()))
	w.seenAs(plain, w.V4, w.V4.Node)
	resyncs := func() int {
		n, _ := strconv.Atoi(d.metric(`masq_syncs_total{reason="resync"}`))
		return n
	}
	resynced := func() {
		before := resyncs()
		until(t, "masqd has synced", func() bool { return resyncs() >= before+2 })
	}
	resynced()
	if list := w.nodeRun("nft", "list", "tables"); strings.Contains(list, "masq-helpers") || listens() != "" {
		t.Errorf("without helpers:\n%s%s", list, listens())
	}
	p := w.attach("a", w.conflist("1.1.0", w.helped()))
	w.redirected(p)
	s := w.craftedServer(w.V4.Server)
	c := p.rtsp(t, w.V4.Server)
	c.setup()
	s.streams(c, w.V4.Node, s.toldPorts())
	resynced() // the listener is one of the node's services: its port is reserved
	generation := d.metric("masq_nftables_generation")
	resynced()
	if now := d.metric("masq_nftables_generation"); now != generation {
		t.Errorf("the generation changed from %s to %s while nothing happened", generation, now)
	}
	if got := len(strings.Split(strings.TrimSpace(listens()), "\n")); got != 2 {
		t.Errorf("listeners:\n%s", listens())
	}
	p.detach()
	until(t, "the table is deleted", func() bool { return !strings.Contains(w.nodeRun("nft", "list", "tables"), "masq-helpers") })
	until(t, "masqd listens no longer", func() bool { return listens() == "" })
}
