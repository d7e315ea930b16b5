package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// forger is a host that sends with a container's address by a link other than the
// container's.
type forger struct {
	name string
	*nstest.NS
	to   func(nstest.Plan) netip.Addr                       // a destination that it reaches through the node
	seen func(nstest.Plan) (ns *nstest.NS, from netip.Addr) // where its packets arrive, and with which source
}

// forgers are a neighbor on the uplink, a host on another link of the node, and a
// container with a second link, whose other end it made in the node's namespace.
func (w *world) forgers(victim, other, hostile *pod) []forger {
	t := w.t
	t.Helper()
	lan := assert.Must(w.lab.Namespace("neighbor"))(t)
	side := func(ns *nstest.NS, name, net4, net6 string) {
		n4, n6 := netip.MustParsePrefix(net4), netip.MustParsePrefix(net6)
		node, far := nstest.End{NS: w.Node, Name: name}, nstest.End{NS: ns, Name: "side"}
		for _, n := range []netip.Prefix{n4, n6} {
			node.Addresses = append(node.Addresses, netip.PrefixFrom(n.Addr().Next(), n.Bits()))
			far.Addresses = append(far.Addresses, netip.PrefixFrom(n.Addr().Next().Next(), n.Bits()))
		}
		assert.NoError(t, nstest.Connect(node, far, 1500))
		assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/"+name+"/forwarding", "1"))
		assert.NoError(t, w.Node.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
		for i, p := range w.Plans() {
			assert.NoError(t, ns.Route(netip.PrefixFrom(p.Server, p.Server.BitLen()), []netip.Prefix{n4, n6}[i].Addr().Next()))
		}
	}
	side(lan, "lan", "172.31.1.0/24", "fd31:1::/64")
	side(hostile.NS, "planted", "172.31.2.0/24", "fd31:2::/64")
	for _, key := range []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/uplink/rp_filter"} {
		assert.NoError(t, w.Node.Sysctl(key, "0"))
	}
	assert.NoError(t, w.Node.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	for _, p := range w.Plans() {
		own := other.addr(p.Server)
		assert.NoError(t, w.Router.Route(netip.PrefixFrom(own, own.BitLen()), p.Node))
	}
	server := func(p nstest.Plan) netip.Addr { return p.Server }
	translated := func(p nstest.Plan) (*nstest.NS, netip.Addr) { return w.Server, p.Node }
	return []forger{
		{
			name: "neighbor on the uplink", NS: w.Router,
			to:   func(p nstest.Plan) netip.Addr { return other.addr(p.Server) },
			seen: func(p nstest.Plan) (*nstest.NS, netip.Addr) { return other.NS, victim.addr(p.Server) },
		},
		{name: "host on another link", NS: lan, to: server, seen: translated},
		{name: "planted link", NS: hostile.NS, to: server, seen: translated},
	}
}

// flowsOf returns the node's conntrack entries with a source.
func (w *world) flowsOf(src netip.Addr) string {
	w.t.Helper()
	family := "ipv4"
	if src.Is6() {
		family = "ipv6"
	}
	return string(assert.Must(w.Node.Command(soon(w.t), "conntrack", "-L", "-f", family, "-s", src.String()).Output())(w.t))
}

// TestForgedByAnotherLink: a host on another link sends with a container's address. None of
// its packets is forwarded, and no flow names the container.
func TestForgedByAnotherLink(t *testing.T) {
	const port, marker = 4244, 4245
	for _, accept := range []bool{false, true} {
		t.Run(fmt.Sprintf("acceptOtherLinks %v", accept), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.1.0", w.masq().With(keys{"acceptOtherLinks": accept}))
			victim, other, hostile := w.attach("victim", list), w.attach("other", list), w.attach("hostile", list)
			dropped := map[netip.Addr]int{}
			for _, f := range w.forgers(victim, other, hostile) {
				for i, p := range w.Plans() {
					src, dst := victim.addr(p.Server), f.to(p)
					ns, from := f.seen(p)
					arrived := assert.Must(ns.Capture("eth0", func(q nstest.Packet) bool {
						return !q.Outgoing && q.Dst == dst && (q.DstPort == port || q.DstPort == marker || isPing(q) || q.FragOffset > 0)
					}))(t)
					datagram := nstest.UDPPacket(at(src, 700), at(dst, port), []byte("forged"))
					first, second := fragments(nstest.UDPPacket(at(src, 701), at(dst, port), make([]byte, 100)), 4712, 64)
					all := [][]byte{
						datagram, first, second,
						nstest.TCPPacket(nstest.Segment{Src: at(src, 702), Dst: at(dst, port), Flags: nstest.SYN, Seq: 1}),
						nstest.EchoPacket(src, dst, 703, 1, nil),
					}
					for _, packet := range all {
						assert.NoError(t, f.SendRaw(packet))
					}
					if accept {
						got, err := arrived.Wait(soon(t), func(got []nstest.Packet) bool { return len(got) >= len(all) })
						if err != nil || slices.ContainsFunc(got, func(q nstest.Packet) bool { return q.Src != from }) {
							t.Errorf("%s: %v arrived, %v; want %d from %s", f.name, got, err, len(all), from)
						}
						i := slices.IndexFunc(got, func(q nstest.Packet) bool { return string(q.Payload) == "forged" })
						if from == p.Node && i >= 0 {
							flows, _ := w.who(got[i].Source().String() + "/udp")
							if len(flows) != 1 || flows[0].ContainerID != victim.runtime.ContainerID {
								t.Errorf("%s: who names %+v, want the victim", f.name, flows)
							}
						}
						w.nodeRun("conntrack", "-F")
						continue
					}
					// Without a flow, so that no chain of type nat sees it.
					assert.NoError(t, f.SendRaw(nstest.TCPPacket(nstest.Segment{Src: at(src, 704), Dst: at(dst, port), Flags: nstest.RST, Seq: 1})))
					// A fragmented datagram is counted once.
					dropped[src] += len(all)
					rule := []string{"origin/other-link4", "origin/other-link6"}[i]
					until(t, f.name+" is counted", func() bool { return w.counted(rule) == dropped[src] })
					if flows := w.flowsOf(src); flows != "" {
						t.Errorf("%s: flows that name the container:\n%s", f.name, flows)
					}
					// The control: the container sends the same packets.
					assert.NoError(t, victim.SendRaw(nstest.UDPPacket(at(src, 700), at(dst, marker), []byte("own"))))
					assert.Must(arrived.WaitFor(soon(t), func(q nstest.Packet) bool { return q.DstPort == marker }))(t)
					if got := packets(t, arrived); len(got) != 1 {
						t.Errorf("%s: forged packets arrived: %v", f.name, got)
					}
					w.nodeRun("conntrack", "-F")
				}
			}
		})
	}
}

// TestForgedExpectedByAnotherLink: the check applies to flows that a helper expects too.
func TestForgedExpectedByAnotherLink(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	s := w.vsftpd(21)
	list := w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}}))
	victim, other, hostile := w.attach("victim", list), w.attach("other", list), w.attach("hostile", list)
	neighbor := w.forgers(victim, other, hostile)[1]
	for i, p := range w.Plans() {
		session := victim.login(t, at(p.Server, s.port))
		data := session.passive()
		arrived := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return q.DstPort == data }))(t)
		assert.NoError(t, neighbor.SendRaw(nstest.TCPPacket(nstest.Segment{
			Src: at(victim.addr(p.Server), 5000), Dst: at(p.Server, data), Flags: nstest.SYN, Seq: 1,
		})))
		rule := []string{"origin/other-link4", "origin/other-link6"}[i]
		until(t, "the forged packet is counted", func() bool { return w.counted(rule) == 1 })
		// The first connection that arrives is the container's own.
		conn := assert.Must(victim.Dial(soon(t), "tcp", netip.AddrPort{}, at(p.Server, data)))(t)
		if got := assert.Must(arrived.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t); got.SrcPort == 5000 || got.Src != p.Node {
			t.Errorf("%v arrived", got)
		}
		assert.NoError(t, conn.Close())
	}
}

// TestAcceptOtherLinksOfTheNode: the node's configuration turns the check off and on for live
// containers of networks without a policy.
func TestAcceptOtherLinksOfTheNode(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	file := w.writeConfig("acceptOtherLinks: true\n")
	d := w.daemon("--config", file)
	c := w.attach("a", w.conflist("1.0.0", w.masq()))
	checked := func(is bool) func() bool {
		return func() bool {
			sets := w.nodeRun("nft", "list", "set", "inet", "masq", "linked4") + w.nodeRun("nft", "list", "set", "inet", "masq", "linked6")
			for _, p := range w.Plans() {
				if strings.Contains(sets, c.addr(p.Server).String()+" ") != is {
					return false
				}
			}
			return true
		}
	}
	until(t, "masqd knows the attachment", func() bool { return d.metric("masq_attachments") == "1" })
	until(t, "other links are accepted", checked(false))
	w.writeConfig("acceptOtherLinks: false\n")
	until(t, "other links are not accepted", checked(true))
	w.writeConfig("acceptOtherLinks: true\n")
	until(t, "other links are accepted again", checked(false))
}
