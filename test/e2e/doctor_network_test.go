package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// networkFixtures make the faults of doctor's network checks.
var networkFixtures = []doctorFixture{
	// masqd would enable forwarding again.
	{check: "forwarding-off", noDaemon: true, fault: func(l *doctorLab) { l.turnsOff("net/ipv4/conf/uplink/forwarding") }},
	{check: "forwarding-off", noDaemon: true, fault: func(l *doctorLab) { l.turnsOff("net/ipv6/conf/" + l.pods[0].host() + "/force_forwarding") }},
	{check: "forwarding-off", noDaemon: true, fault: func(l *doctorLab) { l.turnsOff("net/ipv4/ip_forward") }},
	// masqd does not enable forwarding on an interface without a default route.
	{check: "forwarding-off", keys: keys{"snatAddresses": []string{secondEgress}}, begin: func(l *doctorLab) {
		l.secondUplink()
		assert.NoError(l.t, l.Node.Sysctl("net/ipv4/conf/uplink2/forwarding", "1"))
	}, fault: func(l *doctorLab) { l.turnsOff("net/ipv4/conf/uplink2/forwarding") }},
	{check: "uplink-mtu", fault: func(l *doctorLab) { assert.NoError(l.t, l.Node.SetMTU("uplink", 1200)) }},
	{check: "accept-ra", prepare: func(l *doctorLab) { l.advertises("2") }, fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Node.Sysctl("net/ipv6/conf/uplink/accept_ra", "1"))
	}},
	{check: "accept-ra", prepare: func(l *doctorLab) { l.advertises("1") }, fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Node.Sysctl("net/ipv6/conf/all/forwarding", "1")) // deletes the default route
	}},
	{check: "no-default-route", fault: func(l *doctorLab) { l.nodeRun("ip", "route", "del", "default") }},
	{check: "no-default-route", fault: func(l *doctorLab) { l.nodeRun("ip", "-6", "route", "del", "default") }},
	{check: "next-hop-unresolved", fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Router.RemoveAddress("tonode", netip.PrefixFrom(l.V4.Router, l.V4.UplinkNet.Bits())))
		l.nodeRun("ip", "neigh", "flush", "dev", "uplink")
		l.unanswered(l.V4.Server)
		l.found()
	}},
	// Packets leave by the first uplink, and replies come by the second.
	{check: "rp-filter", keys: keys{"snatAddresses": []string{secondEgress}}, begin: func(l *doctorLab) {
		l.secondUplink()
		assert.NoError(l.t, l.Node.Sysctl("net/ipv4/conf/uplink2/forwarding", "1"))
	}, fault: func(l *doctorLab) {
		l.answers(l.V4.Server)
		assert.NoError(l.t, l.Node.Sysctl("net/ipv4/conf/uplink2/rp_filter", "1"))
		l.unanswered(l.V4.Server)
	}},
	// Packets with a mark leave by the second uplink. Their replies have no mark.
	{check: "rp-filter", begin: (*doctorLab).secondUplink, prepare: func(l *doctorLab) {
		l.nodeRun("ip", "route", "add", "default", "via", "203.0.113.1", "dev", "uplink2", "table", "1000")
		l.nodeRun("ip", "rule", "add", "fwmark", "1", "lookup", "1000")
		l.nodeRun("nft", "add table ip marks; add chain ip marks prerouting { type filter hook prerouting priority mangle; }; add rule ip marks prerouting iifname "+l.pods[0].host()+" meta mark set 1")
		l.answers(l.V4.Server) // when masqd has enabled forwarding on the new uplink
	}, fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Node.Sysctl("net/ipv4/conf/uplink2/rp_filter", "1"))
		l.unanswered(l.V4.Server)
	}},
	{check: "egress-unanswered", keys: keys{"snatAddresses": []string{egress4}}, begin: func(l *doctorLab) {
		l.nodeRun("ip", "address", "add", egress4+"/32", "dev", "uplink")
	}, fault: func(l *doctorLab) {
		l.answers(l.V4.Server)
		l.nodeRun("ip", "address", "add", egress4+"/32", "dev", "lo")
		l.nodeRun("ip", "address", "del", egress4+"/32", "dev", "uplink")
		assert.NoError(l.t, l.Node.Sysctl("net/ipv4/conf/uplink/arp_ignore", "1"))
		assert.Must(l.Router.Command(l.t.Context(), "ip", "neigh", "flush", "dev", "tonode").CombinedOutput())(l.t)
		l.unanswered(l.V4.Server)
	}},
	{check: "egress-unanswered", keys: keys{"snatAddresses": []string{egress6}}, begin: func(l *doctorLab) {
		l.nodeRun("ip", "address", "add", egress6+"/128", "dev", "uplink", "nodad")
	}, fault: func(l *doctorLab) {
		l.answers(l.V6.Server)
		l.nodeRun("ip", "address", "del", egress6+"/128", "dev", "uplink")
		l.nodeRun("ip", "address", "add", egress6+"/128", "dev", "lo", "nodad")
		assert.Must(l.Router.Command(l.t.Context(), "ip", "neigh", "flush", "dev", "tonode").CombinedOutput())(l.t)
		l.unanswered(l.V6.Server)
	}},
	// Packets of 1401 to 1500 bytes are lost.
	{check: "route-mtu", fault: func(l *doctorLab) {
		l.nodeRun("ip", "route", "replace", "default", "via", l.V4.Router.String(), "dev", "uplink", "mtu", "1500")
		assert.NoError(l.t, errors.Join(l.Node.SetMTU("uplink", 1400), l.Router.SetMTU("tonode", 1400)))
		if r, err := l.pods[0].Ping(briefly(l.t), l.V4.Server, nstest.PingOptions{Size: 1472, DontFragment: true}); err == nil {
			l.t.Fatalf("a packet of 1500 bytes gets an answer: %+v", r)
		}
	}},
	{check: "mss-clamp", keys: keys{"mssClamp": "off"}, fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Node.SetMTU("uplink", 1400))
	}},
	// The narrow link is between router and server: the router reports it to the node.
	{check: "mss-clamp", keys: keys{"mssClamp": 1460}, fault: func(l *doctorLab) {
		assert.NoError(l.t, l.Router.SetMTU("toserver", 1400))
		c := assert.Must(l.Node.DialUDP(netip.AddrPort{}, at(l.V4.Server, 9)))(l.t)
		defer c.Close()
		raw := assert.Must(c.SyscallConn())(l.t)
		assert.NoError(l.t, raw.Control(func(fd uintptr) {
			assert.NoError(l.t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
		}))
		assert.Must(c.Write(make([]byte, 1472)))(l.t)
		until(l.t, "the node knows the narrow link", func() bool { return strings.Contains(l.nodeRun("ip", "route", "show", "cache"), "mtu 1400") })
	}},
	{check: "overlapping-subnets", fault: func(l *doctorLab) {
		assert.NoError(l.t, nstest.Connect(
			nstest.End{NS: l.Node, Name: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("10.88.7.1/24")}},
			nstest.End{NS: l.Server, Name: "lan"}, 1500))
	}},
	{check: "overlapping-subnets", fault: func(l *doctorLab) {
		l.attach("other", l.namedConflist("other", "1.1.0", l.masqOn("10.88.128.0/24")))
	}},
	{check: "overlapping-route", prepare: func(l *doctorLab) {
		for _, other := range []string{"10.88.128.0/17", "10.80.0.0/12"} { // of other nodes, and of all nodes
			l.nodeRun("ip", "route", "add", other, "via", l.V4.Router.String())
		}
	}, fault: func(l *doctorLab) { l.nodeRun("ip", "route", "add", "10.88.0.0/17", "via", l.V4.Router.String()) }},
	{check: "overlapping-route", fault: func(l *doctorLab) {
		l.nodeRun("ip", "-6", "route", "add", "fd00:88::/64", "via", l.V6.Router.String())
	}},
	{check: "network-manager", args: (*doctorLab).rootArgs, fault: func(l *doctorLab) {
		l.file("usr/lib/NetworkManager/conf.d/10-all.conf", "[device-all]\nmatch-device=driver:veth\nmanaged=1\n")
		l.program("NetworkManager")
	}},
	{check: "network-manager", args: (*doctorLab).rootArgs, fault: func(l *doctorLab) {
		l.file(fmt.Sprintf("run/NetworkManager/devices/%d", l.hostIndex()), "[device]\nmanaged=true\n")
		l.program("NetworkManager")
	}},
	{check: "networkd", args: (*doctorLab).rootArgs, prepare: func(l *doctorLab) {
		l.file("etc/systemd/network/80-all.network", "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n")
		l.file("usr/lib/systemd/network/20-veth.network", "[Match]\nKind=veth\n\n[Link]\nUnmanaged=yes\n")
		l.program("systemd-networkd")
	}, fault: func(l *doctorLab) {
		l.file("etc/systemd/network/20-veth.network", "") // masks the other
	}},
	{check: "networkd", args: (*doctorLab).rootArgs, fault: func(l *doctorLab) {
		l.file(fmt.Sprintf("run/systemd/netif/links/%d", l.hostIndex()), "# This is private data. Do not parse.\nADMIN_STATE=configured\n")
		l.program("systemd-networkd")
	}},
	{check: "clock-step", args: func(l *doctorLab) []string {
		for _, key := range []string{"net.netfilter.nf_conntrack_acct", "net.netfilter.nf_conntrack_timestamp"} {
			assert.NoError(l.t, l.Node.Sysctl(key, "1")) // otherwise conntrack-accounting finds them
		}
		l.masqd.end()
		l.masqd = l.daemon("--nat-log", filepath.Join(l.dir, "nat-log"))
		return []string{"--nat-log", l.natLog()}
	}, fault: func(l *doctorLab) {
		w := assert.Must(natlog.Open(l.natLog(), natlog.Options{}))(l.t)
		l.t.Cleanup(func() { assert.NoError(l.t, w.Close()) })
		src, dst, egress := netip.MustParseAddrPort("10.88.0.2:40000"), at(l.V4.Server, 80), at(l.V4.Node, 40000)
		for _, offset := range []time.Duration{0, -time.Hour} {
			assert.NoError(l.t, w.Append(&natlog.Record{
				Time: time.Now().Add(offset), Kind: natlog.Begin, Proto: unix.IPPROTO_TCP,
				Original: natlog.Tuple{Src: src, Dst: dst}, Translated: natlog.Tuple{Src: egress, Dst: dst},
			}))
			assert.NoError(l.t, w.Flush())
		}
	}},
}

// natLog is the directory of a NAT log that no masqd writes: the clock of the machine cannot
// be set back for a test.
func (l *doctorLab) natLog() string { return filepath.Join(l.dir, "other-nat-log") }

// rootArgs are the arguments that make doctor read files below a directory of the lab.
func (l *doctorLab) rootArgs() []string { return []string{"--root", filepath.Join(l.dir, "root")} }

// hostIndex returns the index of the host's end of the first container's link.
func (l *doctorLab) hostIndex() (index int) {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Do(func() error {
		i, err := net.InterfaceByName(l.pods[0].host())
		if err == nil {
			index = i.Index
		}
		return err
	}))
	return index
}

// file writes a file below the directory of rootArgs.
func (l *doctorLab) file(name, text string) {
	l.t.Helper()
	name = filepath.Join(l.dir, "root", name)
	assert.NoError(l.t, os.MkdirAll(filepath.Dir(name), 0o755))
	assert.NoError(l.t, os.WriteFile(name, []byte(text), 0o644))
}

// program runs a program with this name in the node until the end of the test. It does
// nothing.
func (l *doctorLab) program(name string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	assert.NoError(l.t, os.WriteFile(path, assert.Must(os.ReadFile(assert.Must(exec.LookPath("sleep"))(l.t)))(l.t), 0o755))
	assert.NoError(l.t, l.Node.Command(l.t.Context(), path, "infinity").Start())
}

// Egress addresses: two in the subnets of the uplink, and one of a second uplink.
const (
	egress4      = "192.0.2.77"
	egress6      = "2001:db8:1::77"
	secondEgress = "203.0.113.2"
)

// turnsOff turns a setting off, and proves that it was on for the containers.
func (l *doctorLab) turnsOff(key string) {
	l.t.Helper()
	server := l.V4.Server
	if strings.Contains(key, "ipv6") {
		server = l.V6.Server
	}
	l.answers(server)
	if key == "net/ipv4/ip_forward" { // in the kernel's view it is off already
		assert.NoError(l.t, l.Node.Sysctl(key, "1"))
	}
	assert.NoError(l.t, l.Node.Sysctl(key, "0"))
	l.unanswered(server)
}

// answers waits until the server answers a container.
func (l *doctorLab) answers(server netip.Addr) {
	l.t.Helper()
	until(l.t, "the server answers", func() bool { return answered(l.pods[0], server) })
}

// unanswered proves that the server does not answer a container. It sends a datagram too: on a
// slow machine the time of a ping can end before it is sent, and some checks need a packet.
func (l *doctorLab) unanswered(server netip.Addr) {
	l.t.Helper()
	c := assert.Must(l.pods[0].DialUDP(netip.AddrPort{}, at(server, 9)))(l.t)
	_, err := c.Write([]byte("x"))
	assert.NoError(l.t, errors.Join(err, c.Close()))
	if reaches(l.pods[0], server) {
		l.t.Fatal("the fault has no effect")
	}
}

// advertises replaces the node's IPv6 default route by one from a router advertisement. With
// an accept_ra of 2 the uplink forwards, too.
func (l *doctorLab) advertises(acceptRA string) {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Sysctl("net/ipv6/conf/uplink/accept_ra", acceptRA))
	if acceptRA == "2" {
		assert.NoError(l.t, l.Node.Sysctl("net/ipv6/conf/uplink/forwarding", "1"))
	}
	l.nodeRun("ip", "-6", "route", "del", "default")
	node, router := assert.Must(l.Node.HardwareAddr("uplink"))(l.t), assert.Must(l.Router.HardwareAddr("tonode"))(l.t)
	frame := routerAdvertisement(node, router, l.V6.UplinkNet)
	until(l.t, "the node has a route from an advertisement", func() bool {
		assert.NoError(l.t, l.Router.SendFrames("tonode", frame))
		return strings.Contains(l.nodeRun("ip", "-6", "route", "show", "default"), "proto ra")
	})
	l.answers(l.V6.Server)
}

// secondUplink gives the node a second uplink, without a default route.
func (l *doctorLab) secondUplink() {
	l.t.Helper()
	near := nstest.End{NS: l.Node, Name: "uplink2", Addresses: []netip.Prefix{netip.MustParsePrefix(secondEgress + "/24")}}
	far := nstest.End{NS: l.Router, Name: "tonode2", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}}
	assert.NoError(l.t, nstest.Connect(near, far, 1500))
	assert.NoError(l.t, l.Server.Route(near.Addresses[0].Masked(), l.V4.ServerNet.Addr().Next()))
}

// routerAdvertisement returns the frame of a router advertisement to one host (RFC 4861,
// section 4.2): a default router for half an hour, and a prefix for addresses.
func routerAdvertisement(to, from net.HardwareAddr, prefix netip.Prefix) []byte {
	const halfHour = 1800
	b := []byte{nstest.RouterAdvertisement, 0, 0, 0, 64, 0}
	b = binary.BigEndian.AppendUint16(b, halfHour)
	b = append(b, make([]byte, 8)...)                                  // reachable time and retransmission timer: unspecified
	b = append(b, 3, 4, byte(prefix.Bits()), 0xc0)                     // on-link, and for addresses
	b = binary.BigEndian.AppendUint32(b, halfHour)                     // valid
	b = append(binary.BigEndian.AppendUint32(b, halfHour), 0, 0, 0, 0) // preferred
	b = append(b, prefix.Addr().AsSlice()...)
	b = append(append(b, 1, 1), from...) // source link-layer address
	src := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: from[0] ^ 2, from[1], from[2], 0xff, 0xfe, from[3], from[4], from[5]})
	p := nstest.IPPacket(src, netip.MustParseAddr("ff02::1"), unix.IPPROTO_ICMPV6, b, 2)
	p[7] = 255 // hop limit: not forwarded by a router
	return nstest.Frame(nstest.Ethernet{Dst: to, Src: from, Type: unix.ETH_P_IPV6}, p)
}
