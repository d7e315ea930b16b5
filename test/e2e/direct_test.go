package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestDirectDestinations asks servers at many addresses which source they see, under
// configurations with different direct destinations. Each destination is its own control:
// it is direct under one configuration and translated under another.
func TestDirectDestinations(t *testing.T) {
	const (
		ten, nine, seven        = "10.1.0.1", "10.9.0.1", "10.9.7.1"
		ten6, nine6, seven6     = "fd00:1::1", "fd00:9::1", "fd00:9:7::1"
		linkLocal               = "169.254.169.254"
		server, server6         = "198.51.100.2", "2001:db8:2::2"
		everywhere, everywhere6 = "0.0.0.0/0", "::/0"
	)
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	servers := map[string]netip.AddrPort{}
	for _, s := range []string{ten, nine, seven, ten6, nine6, seven6, linkLocal, server, server6} {
		a := netip.MustParseAddr(s)
		if a != w.V4.Server && a != w.V6.Server {
			host := netip.PrefixFrom(a, a.BitLen())
			addAddress(t, w.Server, "eth0", host)
			assert.NoError(t, w.Router.Route(host, w.planOf(a).Server))
		}
		servers[s], _ = w.servers(a)
	}
	for i, c := range []struct {
		name   string
		conf   keys
		direct []string
	}{
		{"default", nil, []string{linkLocal}},
		{
			"nonMasqueradeCIDRs",
			keys{"nonMasqueradeCIDRs": []string{"10.0.0.0/8", "fd00::/16"}},
			[]string{ten, nine, seven, ten6, nine6, seven6, linkLocal},
		},
		{
			"masqueradeCIDRs inside",
			keys{
				"nonMasqueradeCIDRs": []string{"10.0.0.0/8", "fd00::/16"},
				"masqueradeCIDRs":    []string{"10.9.0.0/16", "fd00:9::/32"},
			},
			[]string{ten, ten6, linkLocal},
		},
		{
			"the longest of three",
			keys{
				"nonMasqueradeCIDRs": []string{"10.9.7.0/24", "10.0.0.0/8", "fd00:9:7::/48", "fd00::/16"},
				"masqueradeCIDRs":    []string{"10.9.0.0/16", "fd00:9::/32"},
			},
			[]string{ten, seven, ten6, seven6, linkLocal},
		},
		{
			"everything masqueraded, but not link-local",
			keys{"masqueradeCIDRs": []string{everywhere, everywhere6}},
			[]string{linkLocal},
		},
		{
			"everything direct, but one",
			keys{
				"nonMasqueradeCIDRs": []string{everywhere, everywhere6},
				"masqueradeCIDRs":    []string{server + "/32", "2001:db8:2::/64"},
			},
			[]string{ten, nine, seven, ten6, nine6, seven6, linkLocal},
		},
		{"masqLinkLocal", keys{"masqLinkLocal": true}, nil},
		{
			"masqLinkLocal with one direct",
			keys{"masqLinkLocal": true, "nonMasqueradeCIDRs": []string{linkLocal + "/32"}},
			[]string{linkLocal},
		},
		{
			"no policy",
			keys{"ipMasq": false},
			slices.Collect(maps.Keys(servers)),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			p := w.attach(fmt.Sprintf("c%d", i), w.conflist("1.1.0", w.masq().With(c.conf)))
			for dst, srv := range servers {
				want := w.planOf(srv.Addr()).Node
				if slices.Contains(c.direct, dst) {
					want = p.addr(srv.Addr())
				}
				seen, err := p.Who(soon(t), netip.AddrPort{}, srv)
				if err != nil || seen.Addr() != want {
					t.Errorf("%s saw %s, %v; want %s", dst, seen, err, want)
				}
			}
		})
	}
}

// TestDirectNeighbours tests destinations that are direct by default: the other
// containers of the network, and the node itself.
func TestDirectNeighbours(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	subnets := []string{"10.88.0.0/16", "fd00:88::/64"}
	usual := w.attach("usual", w.conflist("1.1.0", w.masq()))
	listed := w.attach("listed", w.conflist("1.1.0", w.masq().With(keys{"nonMasqueradeCIDRs": []string{"203.0.113.0/24"}})))
	hidden := w.attach("hidden", w.conflist("1.1.0", w.masq().With(keys{"masqueradeCIDRs": subnets})))
	other := w.attach("other", w.conflist("1.1.0", w.masq()))
	for _, p := range w.Plans() {
		second := p.Node.Next()
		addAddress(t, w.Node, "uplink", netip.PrefixFrom(second, p.UplinkNet.Bits()))
		sibling := assert.Must(other.ServeTCP(at(other.addr(p.Node), 80)))(t)
		node := assert.Must(w.Node.ServeTCP(at(p.Node, 80)))(t)
		nodeToo := assert.Must(w.Node.ServeTCP(at(second, 80)))(t)
		router := assert.Must(w.Router.ServeTCP(at(p.Router, 80)))(t)
		ownOf := func(c *pod) []netip.Addr { return []netip.Addr{c.addr(p.Node)} }
		ofNode := []netip.Addr{p.Node, second} // the kernel chooses one of the two
		for _, c := range []struct {
			from   *pod
			server *nstest.TCPServer
			want   []netip.Addr
		}{
			{usual, sibling, ownOf(usual)},
			{listed, sibling, ownOf(listed)}, // also if other prefixes are direct
			{hidden, sibling, ofNode},        // control: configured to be translated here too
			{usual, node, ownOf(usual)},
			{usual, nodeToo, ownOf(usual)},
			{hidden, node, ownOf(hidden)},
			{usual, router, ofNode}, // control: on the same link as the node
		} {
			seen, err := c.from.Who(soon(t), netip.AddrPort{}, c.server.Addr())
			if err != nil || !slices.Contains(c.want, seen.Addr()) {
				t.Errorf("%s from %s: seen %s, %v; want one of %s", c.server.Addr(), c.from.runtime.ContainerID, seen, err, c.want)
			}
		}
	}
}

// TestNeverMasqueraded forwards packets without a single receiver: multicast of both
// families and a broadcast. The plugin keeps the source, also if it is configured to
// masquerade everything. The control is an nft rule that translates them.
func TestNeverMasqueraded(t *testing.T) {
	const port = 4242
	for _, c := range []struct {
		name  string
		conf  keys
		naive bool
	}{
		{"masq", keys{"masqueradeCIDRs": []string{"0.0.0.0/0", "::/0"}}, false},
		{"a rule of another program", keys{"ipMasq": false}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			p := w.attach("a", w.conflist("1.1.0", w.masq().With(c.conf)))
			if c.naive {
				w.otherRule("meta l4proto udp masquerade")
			}
			host := p.result.Interfaces[0].Name
			groups := []netip.Addr{netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff0e::123")}
			for i, plan := range w.Plans() {
				routeMulticast(t, w.Node, p.addr(groups[i]), groups[i], host, "uplink")
				destinations := []netip.Addr{groups[i]}
				if groups[i].Is4() {
					// A broadcast of the uplink's network; the node is configured to forward it.
					for _, conf := range []string{"all", host} {
						assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/"+conf+"/bc_forwarding", "1"))
					}
					destinations = append(destinations, netip.MustParseAddr("192.0.2.255"))
				}
				own, want := p.addr(groups[i]), p.addr(groups[i])
				if c.naive {
					want = plan.Node
				}
				for _, dst := range destinations {
					arrived := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Dst == dst && q.DstPort == port }))(t)
					assert.NoError(t, p.SendRaw(nstest.UDPPacket(at(own, port), at(dst, port), []byte("to many"))))
					got, err := arrived.WaitFor(soon(t), func(nstest.Packet) bool { return true })
					if err != nil || got.Src != want {
						t.Errorf("to %s arrived %v, %v; want it from %s", dst, got, err, want)
					}
				}
			}
		})
	}
}

// TestMasqLinkLocalIPv6 has the node send with the address of a container, as a
// transparent proxy does. Nothing else reaches a link-local IPv6 address, because the
// kernel does not forward to one.
func TestMasqLinkLocalIPv6(t *testing.T) {
	const port = 4242
	w := newWorld(t, nstest.Uplink{})
	router := assert.Must(linkLocal(w.Router, "tonode"))(t)
	node := assert.Must(linkLocal(w.Node, "uplink"))(t)
	arrived := assert.Must(w.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Dst == router && q.DstPort == port }))(t)
	for i, on := range []bool{false, true} {
		p := w.attach(fmt.Sprintf("c%d", i), w.conflist("1.1.0", w.masq().With(keys{"masqLinkLocalIPv6": on})))
		own := p.addr(router)
		want := own
		if on {
			want = node
		}
		mark := uint16(5000 + i)
		packet := nstest.UDPPacket(at(own, 700), at(router, port), binary.BigEndian.AppendUint16(nil, mark))
		assert.NoError(t, sendAll(w.Node, "uplink", [][]byte{packet}))
		got, err := arrived.WaitFor(soon(t), func(q nstest.Packet) bool {
			return len(q.Payload) == 2 && binary.BigEndian.Uint16(q.Payload) == mark
		})
		if err != nil || got.Src != want {
			t.Errorf("masqLinkLocalIPv6 %v: %v, %v; want it from %s", on, got, err, want)
		}
	}
}

// TestPodAnnotationDirect opts one container out. The servers have a route to it.
func TestPodAnnotationDirect(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	able := w.masq().With(keys{"capabilities": keys{podAnnotations: true}})
	direct := annotated("masq-cni.dev/egress", "direct")
	pods := map[*pod]bool{
		w.attachWith("direct", w.conflist("1.1.0", able), direct):                             true,
		w.attachWith("foreign", w.conflist("1.1.0", able), annotated("example.com/x", "y")):   false,
		w.attachWith("without", w.conflist("1.1.0", able), nil):                               false,
		w.attachWith("not-a-capability", w.conflist("1.1.0", w.masq()), direct):               false,
		w.attachWith("no-policy", w.conflist("1.1.0", able.With(keys{"ipMasq": false})), nil): true,
	}
	for _, plan := range w.Plans() {
		tcp, _ := w.servers(plan.Server)
		for p, own := range pods {
			want := plan.Node
			if own {
				want = p.addr(plan.Server)
			}
			seen, err := p.Who(soon(t), netip.AddrPort{}, tcp)
			if err != nil || seen.Addr() != want {
				t.Errorf("%s: seen %s, %v; want %s", p.runtime.ContainerID, seen, err, want)
			}
		}
	}
}

// podAnnotations is the capability by which runtimes pass annotations.
const podAnnotations = "io.kubernetes.cri.pod-annotations"

func annotated(name, value string) map[string]any {
	return map[string]any{podAnnotations: map[string]string{name: value}}
}

// attachWith is attach with the arguments of capabilities.
func (w *world) attachWith(id string, list *libcni.NetworkConfigList, args map[string]any) *pod {
	w.t.Helper()
	p := w.pod(id)
	p.runtime.CapabilityArgs = args
	p.attach(list)
	return p
}

// knowPods gives the router and the server a route to containers, so that packets with a
// container's own address are answered too.
func (w *world) knowPods() {
	w.t.Helper()
	for i, p := range w.Plans() {
		pods := netip.MustParsePrefix([]string{"10.88.0.0/16", "fd00:88::/64"}[i])
		gateway := p.ServerNet.Addr().Next()
		assert.NoError(w.t, errors.Join(w.Router.Route(pods, p.Node), w.Server.Route(pods, gateway)))
	}
}

// addAddress adds an address to a link and waits until the kernel has made it local. The
// kernel completes an IPv6 address in a work queue; until then it would forward a packet
// to the address, and the conntrack entry would stay wrong.
func addAddress(t testing.TB, n *nstest.NS, link string, p netip.Prefix) {
	t.Helper()
	assert.NoError(t, n.AddAddress(link, p))
	ctx := soon(t)
	for {
		out, err := n.Command(ctx, "ip", "route", "get", p.Addr().String()).Output()
		if ctx.Err() != nil {
			t.Fatalf("%s is not usable in %s: %s, %v", p.Addr(), n.Name(), out, err)
		}
		if strings.HasPrefix(string(out), "local ") {
			return
		}
	}
}

// planOf returns the plan of the family of an address.
func (w *world) planOf(a netip.Addr) nstest.Plan {
	if a.Is4() {
		return w.V4
	}
	return w.V6
}

// otherRule adds a rule of another program to the node, at the hook where sources are
// translated.
func (w *world) otherRule(rule string) {
	w.t.Helper()
	w.nodeRun("nft", "add table inet other; "+
		"add chain inet other postrouting { type nat hook postrouting priority srcnat; }; "+
		"add rule inet other postrouting oifname uplink "+rule)
}

// linkLocal returns the link-local IPv6 address of an interface.
func linkLocal(n *nstest.NS, iface string) (out netip.Addr, err error) {
	err = n.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		addrs, err := link.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
				out = p.Addr()
			}
		}
		return err
	})
	return out, err
}

// Options of a multicast routing socket, the same in both families, and their
// structures: linux/mroute.h, linux/mroute6.h.
const (
	mrtInit   = 200
	mrtAddVIF = 202
	mrtAddMFC = 204

	vifUseIndex = 8
)

type (
	vifctl struct {
		VIF              uint16
		Flags, Threshold uint8
		RateLimit        uint32
		Index            int32
		Remote           [4]byte
	}
	mfcctl struct {
		Origin, Group [4]byte
		Parent        uint16
		TTLs          [32]uint8
		_             [2]byte
		_             [4]uint32
	}
	mif6ctl struct {
		MIF              uint16
		Flags, Threshold uint8
		Index            uint16
		_                [2]byte
		RateLimit        uint32
	}
	mf6cctl struct {
		Origin, Group sockaddr6
		Parent        uint16
		_             [2]byte
		To            [8]uint32 // one bit for each interface
	}
	sockaddr6 struct {
		Family, Port uint16
		Flow         uint32
		Addr         [16]byte
		Scope        uint32
	}
)

// routeMulticast makes a node forward the packets that src sends to a group until the
// test ends, as a multicast routing daemon does.
func routeMulticast(t testing.TB, n *nstest.NS, src, group netip.Addr, from, to string) {
	t.Helper()
	family, proto, level := unix.AF_INET, unix.IPPROTO_IGMP, unix.IPPROTO_IP
	if group.Is6() {
		family, proto, level = unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6
	}
	fd := -1
	assert.NoError(t, n.Do(func() (err error) {
		if fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto); err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, level, mrtInit, 1); err != nil {
			return fmt.Errorf("multicast routing: %w", err)
		}
		for i, name := range []string{from, to} {
			link, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			var vif any = vifctl{VIF: uint16(i), Flags: vifUseIndex, Threshold: 1, Index: int32(link.Index)}
			if group.Is6() {
				vif = mif6ctl{MIF: uint16(i), Threshold: 1, Index: uint16(link.Index)}
			}
			if err := setStruct(fd, level, mrtAddVIF, vif); err != nil {
				return fmt.Errorf("multicast interface %s: %w", name, err)
			}
		}
		var route any
		if group.Is6() {
			address := func(a netip.Addr) sockaddr6 { return sockaddr6{Family: unix.AF_INET6, Addr: a.As16()} }
			route = mf6cctl{Origin: address(src), Group: address(group), To: [8]uint32{1 << 1}}
		} else {
			route = mfcctl{Origin: src.As4(), Group: group.As4(), TTLs: [32]uint8{0, 1}}
		}
		return setStruct(fd, level, mrtAddMFC, route)
	}))
}

func setStruct(fd, level, option int, v any) error {
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		return err
	}
	return unix.SetsockoptString(fd, level, option, string(b))
}
