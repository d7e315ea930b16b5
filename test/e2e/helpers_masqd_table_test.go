package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// helperTable is the table for masqd's helpers, without a masqd: a server takes the place of
// each listener.
type helperTable struct {
	*world
	owned     *nft.Owned
	listeners map[masq.Family]*nstest.TCPServer
}

const rtspPort = 554

func (w *world) helperTable() *helperTable {
	w.t.Helper()
	h := &helperTable{world: w, listeners: map[masq.Family]*nstest.TCPServer{}}
	for _, p := range w.Plans() {
		h.listeners[masq.FamilyOf(p.Node)] = assert.Must(w.Node.ServeTCP(at(p.Node, 0)))(w.t)
	}
	assert.NoError(w.t, w.Node.Do(func() (err error) {
		h.owned, err = nft.OpenOwned(ruleset.HelperTableName)
		return err
	}))
	w.t.Cleanup(func() { assert.NoError(w.t, h.owned.Close()) })
	return h
}

// put makes the table for the attachments that have records.
func (h *helperTable) put(sources ruleset.Sources, dynamic ruleset.HelperElements) {
	h.t.Helper()
	var all []masq.Attachment
	assert.NoError(h.t, h.Node.Do(func() error {
		records, err := store.Open(filepath.Join(h.dir, "state"))
		if err != nil {
			return err
		}
		found, err := records.All()
		for _, r := range found {
			all = append(all, r.Attachment)
		}
		return err
	}))
	at := map[masq.Family]ruleset.Listeners{}
	for f, l := range h.listeners {
		at[f] = ruleset.Listeners{TCP: l.Addr()}
	}
	assert.NoError(h.t, h.owned.Replace(ruleset.HelperTable(all, sources, ruleset.Egress{}, at, dynamic)))
}

// redirected connects to a server and reports whether the listener has the connection. One of
// the two must have it.
func (h *helperTable) redirected(from *nstest.NS, server *nstest.TCPServer) bool {
	h.t.Helper()
	l := h.listeners[masq.FamilyOf(server.Addr().Addr())]
	listener, direct := len(l.Sources()), len(server.Sources())
	assert.Must(from.Who(soon(h.t), netip.AddrPort{}, server.Addr()))(h.t)
	listener, direct = len(l.Sources())-listener, len(server.Sources())-direct
	if listener+direct != 1 {
		h.t.Errorf("%s: the listener has %d connections, the server %d", server.Addr(), listener, direct)
	}
	return listener == 1
}

// TestHelperRedirect: exactly the flows to the ports of a helper that the policy translates reach
// masqd.
func TestHelperRedirect(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	own := keys{"helpers": keys{"rtsp": []int{rtspPort}}, "helpersRequired": false}
	a := w.attach("a", w.conflist("1.1.0", w.masq().With(own)))
	plain := w.attach("plain", w.conflist("1.1.0", w.masq()))
	h := w.helperTable()
	serve := func(n *nstest.NS, a netip.Addr, port uint16) *nstest.TCPServer {
		return assert.Must(n.ServeTCP(at(a, port)))(t)
	}
	type destination struct {
		name   string
		from   *pod
		server *nstest.TCPServer
		want   bool
	}
	var all []destination
	for _, p := range w.Plans() {
		control := serve(w.Server, p.Server, rtspPort)
		// A Service: another program redirects its address to a server.
		service, backend := netip.MustParseAddr("203.0.113.9"), serve(w.Server, p.Server, 8080)
		header := "ip"
		if p.Node.Is6() {
			service, header = netip.MustParseAddr("2001:db8:9::9"), "ip6"
		}
		w.nodeRun("nft", fmt.Sprintf("add table %[1]s other; add chain %[1]s other pre { type nat hook prerouting priority dstnat; }; add rule %[1]s other pre %[1]s daddr %[2]s tcp dport 554 dnat to %[3]s",
			header, service, backend.Addr()))
		all = append(all, []destination{
			{"the port of the helper", a, control, true},
			{"another port", a, serve(w.Server, p.Server, rtspPort+1), false},
			{"an attachment without a helper", plain, control, false},
			{"a direct destination", a, serve(plain.NS, plain.addr(p.Node), rtspPort), false},
			{"the node", a, serve(w.Node, p.Node, rtspPort), false},
		}...)
		t.Run("a Service", func(t *testing.T) {
			h.put(ruleset.Sources{}, ruleset.HelperElements{})
			listener := h.listeners[masq.FamilyOf(service)]
			for i, want := range []int{0, 1} {
				assert.Must(a.Who(soon(t), netip.AddrPort{}, at(service, rtspPort)))(t)
				if len(listener.Sources()) != want || len(backend.Sources()) != 1 {
					t.Errorf("connection %d: the listener has %v, the backend %v", i+1, listener.Sources(), backend.Sources())
				}
				w.nodeRun("nft", "flush", "chain", header, "other", "pre") // control
			}
		})
	}
	for _, d := range all {
		h.put(ruleset.Sources{}, ruleset.HelperElements{})
		if got := h.redirected(d.from.NS, d.server); got != d.want {
			t.Errorf("%s (%s): redirected %t", d.name, d.server.Addr(), got)
		}
		assert.NoError(t, h.owned.Replace(ruleset.Table{}))
		if h.redirected(d.from.NS, d.server) {
			t.Errorf("%s (%s): redirected without the table", d.name, d.server.Addr())
		}
	}
	for _, p := range []*pod{a, plain} {
		assert.NoError(t, p.tryCheck(p.list)) // the managed table is as ADD left it
	}
}

// TestHelperPassesForward: a redirected connection is not forwarded, so a rule that forbids
// containers to forward to the port does not stop it. A rule for input of the node does.
func TestHelperPassesForward(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	own := keys{"helpers": keys{"rtsp": []int{rtspPort}}, "helpersRequired": false}
	a := w.attach("a", w.conflist("1.1.0", w.masq().With(own)))
	plain := w.attach("plain", w.conflist("1.1.0", w.masq()))
	server := assert.Must(w.Server.ServeTCP(at(w.V4.Server, rtspPort)))(t)
	h := w.helperTable()
	h.put(ruleset.Sources{}, ruleset.HelperElements{})
	w.nodeRun("nft", "add table inet fw; add chain inet fw forward { type filter hook forward priority 0; }; add chain inet fw input { type filter hook input priority 0; };"+
		" add rule inet fw forward ip saddr 10.88.0.0/16 tcp dport 554 counter drop")
	if !h.redirected(a.NS, server) {
		t.Error("the connection is not redirected")
	}
	stopped := func(p *pod, hook string) {
		t.Helper()
		ctx, cancel := context.WithCancel(soon(t))
		done := make(chan error, 1)
		go func() {
			_, err := p.Who(ctx, netip.AddrPort{}, server.Addr())
			done <- err
		}()
		until(t, "the rule drops", func() bool {
			return regexp.MustCompile(`counter packets [1-9]`).MatchString(w.nodeRun("nft", "list", "chain", "inet", "fw", hook))
		})
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s connects", p.Name())
		}
	}
	stopped(plain, "forward") // control
	w.nodeRun("nft", "add rule inet fw input ip saddr 10.88.0.0/16 tcp dport != 554 counter drop")
	stopped(a, "input")
}

// TestHelperRedirectOfSources: sourceCIDRs have the node's policy. An attachment within them has
// its own.
func TestHelperRedirectOfSources(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	other := w.attach("other", w.namedConflist("other", "1.1.0", w.masqOn("10.77.0.0/16").With(keys{"ipMasq": false})))
	plain := w.attach("plain", w.conflist("1.1.0", w.masq()))
	server := assert.Must(w.Server.ServeTCP(at(w.V4.Server, rtspPort)))(t)
	assert.NoError(t, w.Server.Route(netip.MustParsePrefix("10.77.0.0/16"), netip.MustParseAddr("198.51.100.1")))
	assert.NoError(t, w.Router.Route(netip.MustParsePrefix("10.77.0.0/16"), w.V4.Node))
	policy := masq.Default()
	policy.Node, policy.Helpers = true, []masq.Helper{{Name: "rtsp", Ports: []uint16{rtspPort}}}
	h := w.helperTable()
	for _, c := range []struct {
		prefix       string
		other, plain bool
	}{
		{"10.0.0.0/8", true, false},
		{"10.99.0.0/16", false, false},
	} {
		h.put(ruleset.Sources{Prefixes: []netip.Prefix{netip.MustParsePrefix(c.prefix)}, Policy: policy}, ruleset.HelperElements{})
		if got := h.redirected(other.NS, server); got != c.other {
			t.Errorf("%s: a pod of another plugin is redirected: %t", c.prefix, got)
		}
		if got := h.redirected(plain.NS, server); got != c.plain {
			t.Errorf("%s: an attachment is redirected: %t", c.prefix, got)
		}
	}
}

// TestHelperOpens: an announced port leads to the container. A service of the node at that port
// takes precedence, at one address or at all.
func TestHelperOpens(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	own := keys{"helpers": keys{"rtsp": []int{rtspPort}}, "helpersRequired": false}
	a := w.attach("a", w.conflist("1.1.0", w.masq().With(own)))
	h := w.helperTable()
	const announced, ofClient = 41000, 5000
	for _, p := range w.Plans() {
		wildcard := netip.IPv4Unspecified()
		if p.Node.Is6() {
			wildcard = netip.IPv6Unspecified()
		}
		tcp := assert.Must(a.ServeTCP(at(a.addr(p.Node), ofClient)))(t)
		udp := assert.Must(a.ServeUDP(at(a.addr(p.Node), ofClient)))(t)
		var opened []ruleset.Opened
		for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			for port := range uint16(3) {
				opened = append(opened, ruleset.Opened{
					Identity: "net/a/eth0", Egress: at(p.Node, announced+port), Proto: proto, Peer: p.Server,
					Client: at(a.addr(p.Node), ofClient), Timeout: time.Hour,
				})
			}
		}
		h.put(ruleset.Sources{}, ruleset.HelperElements{Opened: opened})
		// The container sees the server's own address.
		seen := assert.Must(w.Server.Who(soon(t), netip.AddrPort{}, at(p.Node, announced)))(t)
		if seen.Addr() != p.Server || !slices.Contains(tcp.Sources(), seen) {
			t.Errorf("the server is seen as %s; the container has %v", seen, tcp.Sources())
		}
		assert.NoError(t, w.Server.EchoUDP(soon(t), netip.AddrPort{}, at(p.Node, announced), 100))
		if got := len(udp.Seen()); got != 1 {
			t.Errorf("the container has %d datagrams", got)
		}
		for i, address := range []netip.Addr{p.Node, wildcard} {
			port := announced + 1 + uint16(i)
			service := assert.Must(w.Node.ServeTCP(at(address, port)))(t)
			datagrams := assert.Must(w.Node.ServeUDP(at(address, port)))(t)
			assert.Must(w.Server.Who(soon(t), netip.AddrPort{}, at(p.Node, port)))(t)
			assert.NoError(t, w.Server.EchoUDP(soon(t), netip.AddrPort{}, at(p.Node, port), 100))
			if len(service.Sources()) != 1 || len(datagrams.Seen()) != 1 || len(tcp.Sources()) != 1+i || len(udp.Seen()) != 1+i {
				t.Errorf("the service at %s has %v and %v", service.Addr(), service.Sources(), datagrams.Seen())
			}
			// Control: without the service the port leads to the container.
			assert.NoError(t, errors.Join(service.Close(), datagrams.Close()))
			assert.Must(w.Server.Who(soon(t), netip.AddrPort{}, at(p.Node, port)))(t)
			assert.NoError(t, w.Server.EchoUDP(soon(t), netip.AddrPort{}, at(p.Node, port), 100))
			if len(tcp.Sources()) != 2+i || len(udp.Seen()) != 2+i {
				t.Errorf("the container has %v and %v", tcp.Sources(), udp.Seen())
			}
		}
		// Another host does not reach the container.
		if _, err := w.Router.Who(soon(t), netip.AddrPort{}, at(p.Node, announced)); err == nil {
			t.Error("another host reaches the container")
		}
	}
}

// TestHelperWithoutEgress: masqd's connections are dropped as the container's are while the node
// has none of the policy's egress addresses.
func TestHelperWithoutEgress(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	egress := netip.MustParseAddr("192.0.2.77")
	w.nodeRun("ip", "address", "add", egress.String()+"/24", "dev", "uplink")
	w.attach("a", w.conflist("1.1.0", w.masq().With(keys{
		"helpers": keys{"rtsp": []int{rtspPort}}, "helpersRequired": false, "snatAddresses": []string{egress.String()},
	})))
	server := assert.Must(w.Server.ServeTCP(at(w.V4.Server, rtspPort)))(t)
	h := w.helperTable()
	local := at(w.V4.Node, 50000)
	// put uses no egress address of the node.
	h.put(ruleset.Sources{}, ruleset.HelperElements{Spoken: []ruleset.Spoken{{Identity: "net/a/eth0", Local: local, Proto: unix.IPPROTO_TCP}}})
	dropped := assert.Must(w.Node.Capture("uplink", func(p nstest.Packet) bool { return p.Dst == w.V4.Server }))(t)
	ctx, cancel := context.WithCancel(soon(t))
	done := make(chan error, 1)
	go func() {
		c, err := w.Node.Dial(ctx, "tcp", local, server.Addr())
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	drops := regexp.MustCompile(`counter packets [1-9]\d* bytes \d+ drop comment "policy/no-egress4"`)
	until(t, "the rule drops", func() bool {
		return drops.MatchString(w.nodeRun("nft", "list", "table", "inet", ruleset.HelperTableName))
	})
	cancel()
	if err := <-done; err == nil {
		t.Error("the connection is open")
	}
	if got := packets(t, dropped); len(got) > 0 {
		t.Errorf("%v left the node", got)
	}
}
