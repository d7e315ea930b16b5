package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// wholeCloud is a list of sources that contains the addresses of nodes and pods, as on
// clouds whose nodes and pods share a subnet.
var wholeCloud = []string{"10.88.0.0/16", "fd00:88::/64", "192.0.2.0/24", "198.18.0.0/15", "2001:db8::/32"}

// protocolPorts are source ports that the far end requires: WireGuard, IKE, NTP.
var protocolPorts = []uint16{51820, 500, 123}

// nodeAddresses returns the node's addresses of a plan's family: on the uplink and on the
// loopback.
func (s *sourced) nodeAddresses(p nstest.Plan) []netip.Addr {
	s.t.Helper()
	onLoopback := map[bool]netip.Addr{true: egressAddresses[0][2], false: egressAddresses[1][1]}[p.Node.Is4()]
	return []netip.Addr{p.Node, onLoopback}
}

// addLoopbackAddresses adds addresses to the node's loopback.
func (s *sourced) addLoopbackAddresses() {
	s.t.Helper()
	for _, p := range s.Plans() {
		host := netip.PrefixFrom(s.nodeAddresses(p)[1], p.Node.BitLen())
		addAddress(s.t, s.Node, "lo", host)
		assert.NoError(s.t, errors.Join(s.Router.Route(host, p.Node), s.Server.Route(host, p.ServerNet.Addr().Next())))
	}
}

// wantOwnSockets compares the source that the far end sees for the node's sockets with the
// address and port they are bound to. own says whether they must be equal.
func (s *sourced) wantOwnSockets(own bool) {
	s.t.Helper()
	for _, p := range s.Plans() {
		for _, a := range s.nodeAddresses(p) {
			for _, port := range protocolPorts {
				server := assert.Must(s.Server.ServeUDP(at(p.Server, 0)))(s.t)
				assert.NoError(s.t, s.Node.EchoUDP(soon(s.t), at(a, port), server.Addr(), 32))
				if seen := server.Seen()[0].Source; (seen == at(a, port)) != own {
					s.t.Errorf("datagram of the node's socket %s arrives from %s; want it unchanged: %t", at(a, port), seen, own)
				}
			}
			stream := assert.Must(s.Server.ServeTCP(at(p.Server, 0)))(s.t)
			if seen := assert.Must(s.Node.Who(soon(s.t), at(a, 3000), stream.Addr()))(s.t); (seen == at(a, 3000)) != own {
				s.t.Errorf("connection of the node's socket %s arrives from %s; want it unchanged: %t", at(a, 3000), seen, own)
			}
		}
	}
}

// wantPodTranslated checks that packets of a pod arrive with the node's address.
func (s *sourced) wantPodTranslated() {
	s.t.Helper()
	for _, p := range s.Plans() {
		if c := s.converse(s.pod.NS, "udp", p.Server); c.as.Addr() != p.Node {
			s.t.Errorf("%v, not as the node", c)
		}
	}
}

// matchAllSources replaces the rules for sources by rules that do not exclude the node's own
// addresses.
func (s *sourced) matchAllSources() {
	s.t.Helper()
	for family, header := range map[string]string{"4": "ip", "6": "ip6"} {
		s.takeRule("postrouting", "postrouting/cidr"+family)
		s.nft("add rule inet masq postrouting %s saddr @cidr%s goto policy-%s", header, family, s.policyID())
	}
}

// TestNodeSocketsAmongSources: packets of the node's own sockets are not translated,
// although sourceCIDRs contain the node's addresses. Pods of the same range are.
func TestNodeSocketsAmongSources(t *testing.T) {
	for _, way := range []string{"file", "flag"} {
		t.Run(way, func(t *testing.T) {
			s := newSourced(t)
			s.addLoopbackAddresses()
			args := []string{"--config", s.writeConfig("sourceCIDRs: [" + strings.Join(wholeCloud, ", ") + "]\n")}
			if way == "flag" {
				args = []string{"--config", s.writeConfig("nonMasqueradeCIDRs: []\n"), "--source-cidrs", strings.Join(wholeCloud, ",")}
			}
			d := s.daemon(args...)
			s.translated()
			s.wantPodTranslated()
			s.wantOwnSockets(true)

			// A destination that the node translates for its own sockets.
			s.nft("table ip theirs { chain c { type nat hook output priority -100; ip daddr 203.0.113.9 dnat to %s; }; }", s.V4.Server)
			server := assert.Must(s.Server.ServeUDP(at(s.V4.Server, 0)))(t)
			assert.NoError(t, s.Node.EchoUDP(soon(t), at(s.V4.Node, 51820), at(netip.MustParseAddr("203.0.113.9"), server.Addr().Port()), 32))
			if seen := server.Seen()[0].Source; seen != at(s.V4.Node, 51820) {
				t.Errorf("a datagram to a translated destination arrives from %s", seen)
			}

			// The control: the same packets, with rules that match the node's addresses too.
			d.end()
			s.matchAllSources()
			assert.NoError(t, s.Node.Command(t.Context(), "conntrack", "-F").Run())
			s.wantOwnSockets(false)
		})
	}
}

// TestNodeTunnelAmongSources: packets that a tunnel of the node sends for a pod are the
// node's own. Their input interface is the pod's link or the tunnel.
func TestNodeTunnelAmongSources(t *testing.T) {
	s := newSourced(t)
	d := s.daemon("--config", s.writeConfig("sourceCIDRs: ["+strings.Join(wholeCloud, ", ")+"]\n"))
	s.translated()
	s.nodeRun("ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "remote", s.V4.Server.String(), "local", s.V4.Node.String(),
		"dstport", "4789", "srcport", "47890", "47891")
	s.nodeRun("ip", "address", "add", "203.0.113.1/24", "dev", "vx0")
	s.nodeRun("ip", "link", "set", "vx0", "up")
	s.nodeRun("ip", "neighbour", "add", "203.0.113.9", "lladdr", "02:00:00:00:00:09", "dev", "vx0", "nud", "permanent")
	seenFrom := func() netip.AddrPort {
		t.Helper()
		outer := assert.Must(s.Server.Capture("eth0", func(p nstest.Packet) bool { return p.Proto == unix.IPPROTO_UDP && p.DstPort == 4789 }))(t)
		defer func() { assert.NoError(t, outer.Close()) }()
		c := assert.Must(s.pod.Dial(soon(t), "udp", netip.AddrPort{}, netip.MustParseAddrPort("203.0.113.9:9")))(t)
		defer func() { _ = c.Close() }()
		assert.Must(c.Write([]byte("wrapped")))(t)
		return assert.Must(outer.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t).Source()
	}
	own := at(s.V4.Node, 47890)
	if seen := seenFrom(); seen != own {
		t.Errorf("the tunnel's packet arrives from %s, want %s", seen, own)
	}
	d.end() // control
	s.matchAllSources()
	assert.NoError(t, s.Node.Command(t.Context(), "conntrack", "-F").Run())
	if seen := seenFrom(); seen == own {
		t.Errorf("the tunnel's packet arrives from %s with rules that match the node, so the test proves nothing", seen)
	}
}
