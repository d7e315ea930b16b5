package e2e

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// agentNode is a node with a pod that another plugin connected, and a link on which
// the test receives every packet that leaves the node.
type agentNode struct {
	*world
	pod    *pod
	local  map[netip.Addr]*nstest.UDPServer // at the node's own addresses
	config string                           // directory
	rounds *uint16                          // number of probe rounds so far
	// linkLocalSource is the source that the kernel chooses for link-local IPv6 destinations.
	linkLocal netip.Addr
}

// The payload and the source port identify the round: a flow that was translated stays
// translated.
const (
	probePort   = 4242
	firstSource = 20000
)

// openAddress is direct only if every destination is.
const openAddress = "46.4.0.1"

// newAgentNode makes a node whose uplink has addresses outside all tested prefixes. The
// link resolves no addresses, so every packet leaves.
func newAgentNode(t testing.TB) *agentNode {
	t.Helper()
	lab := nstest.New(t)
	topo := &nstest.Topology{
		Node: assert.Must(lab.Namespace("node"))(t), Router: assert.Must(lab.Namespace("router"))(t),
		V4: nstest.Plan{UplinkNet: netip.MustParsePrefix("77.0.0.0/30"), Node: netip.MustParseAddr("77.0.0.1"), Router: netip.MustParseAddr("77.0.0.2")},
		V6: nstest.Plan{UplinkNet: netip.MustParsePrefix("2001:db8:1::/64"), Node: netip.MustParseAddr("2001:db8:1::1"), Router: netip.MustParseAddr("2001:db8:1::2")},
	}
	uplink := nstest.End{NS: topo.Node, Name: "uplink"}
	for _, p := range topo.Plans() {
		uplink.Addresses = append(uplink.Addresses, netip.PrefixFrom(p.Node, p.UplinkNet.Bits()))
	}
	assert.NoError(t, nstest.Connect(uplink, nstest.End{NS: topo.Router, Name: "tonode"}, 1500))
	for _, p := range topo.Plans() {
		assert.NoError(t, topo.Node.Route(netip.PrefixFrom(unspecified(p.Node), 0), p.Router))
	}
	dir := t.TempDir()
	n := &agentNode{
		world: &world{
			Topology: topo, t: t, lab: lab, dir: dir,
			cni: libcni.NewCNIConfigWithCacheDir(pluginPath(t), filepath.Join(dir, "cache"), nil),
		},
		local: map[netip.Addr]*nstest.UDPServer{}, config: filepath.Join(dir, "config"), rounds: new(uint16),
	}
	assert.NoError(t, os.Mkdir(n.config, 0o755))
	n.nodeRun("ip", "link", "set", "uplink", "arp", "off")
	n.nodeRun("ip", "-6", "route", "add", "fe80::/10", "dev", "uplink")
	n.linkLocal = assert.Must(linkLocal(topo.Node, "uplink"))(t)
	n.pod = n.world.pod("another")
	// ptp leaves duplicate address detection on, which takes a second.
	for _, ns := range []*nstest.NS{n.Node, n.pod.NS} {
		assert.NoError(t, ns.Sysctl("net/ipv6/conf/default/accept_dad", "0"))
	}
	n.pod.attach(n.conflist("1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": n.masq()["ipam"].(keys).With(keys{
		"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}},
	})}))
	for _, p := range n.Plans() {
		n.local[p.Node] = assert.Must(n.Node.ServeUDP(at(p.Node, probePort)))(t)
	}
	return n
}

// in returns n for a subtest.
func (n *agentNode) in(t testing.TB) *agentNode {
	c := *n
	c.world = n.world.in(t)
	return &c
}

// round returns the number of a new probe round.
func (n *agentNode) round() uint16 {
	*n.rounds++
	return *n.rounds
}

// give replaces the configuration in one step, as the kubelet updates a projected
// volume. Afterwards it links new names and removes the links of names that are no
// longer part of the configuration.
func (n *agentNode) give(files map[string]string) {
	n.t.Helper()
	version := assert.Must(os.MkdirTemp(n.config, "..version"))(n.t)
	for name, text := range files {
		assert.NoError(n.t, os.WriteFile(filepath.Join(version, name), []byte(text), 0o600))
	}
	next := filepath.Join(n.config, "..tmp")
	assert.NoError(n.t, os.Symlink(filepath.Base(version), next))
	assert.NoError(n.t, os.Rename(next, filepath.Join(n.config, "..data")))
	for _, e := range assert.Must(os.ReadDir(n.config))(n.t) {
		if _, stays := files[e.Name()]; !stays && !strings.HasPrefix(e.Name(), "..") {
			assert.NoError(n.t, os.Remove(filepath.Join(n.config, e.Name())))
		}
	}
	for name := range files {
		err := os.Symlink(filepath.Join("..data", name), filepath.Join(n.config, name))
		if !errors.Is(err, os.ErrExist) {
			assert.NoError(n.t, err)
		}
	}
}

// masqd starts the daemon with the flags of a run, without a configuration file.
func (n *agentNode) masqd(run agentRun) *daemon {
	n.t.Helper()
	n.give(nil)
	pattern := "ip-masq-agent"
	if run.merged {
		pattern = "ip-masq*"
	}
	return n.daemon(append([]string{"--config", filepath.Join(n.config, pattern), "--source-cidrs", "10.88.0.0/16,fd00:88::/64"}, run.flags...)...)
}

// change applies an input and returns when masqd has applied it. Before that it applies
// an input with the opposite decision for one destination, so that the effect of an
// earlier input is not mistaken for the effect of this one.
func (n *agentNode) change(in agentInput, to decision) {
	n.t.Helper()
	open := netip.MustParseAddr(openAddress)
	opposite := "nonMasqueradeCIDRs: [0.0.0.0/0]\n"
	if to.isDirect(open) {
		opposite = "nonMasqueradeCIDRs: []\n"
	}
	// The names are the same: a linked file changes in one step.
	before := map[string]string{}
	for name := range in.files {
		before[name] = opposite
	}
	if len(before) == 0 {
		before = one(opposite)
	}
	n.give(before)
	n.becomes(open, !to.isDirect(open))
	after := map[string]string{}
	maps.Copy(after, in.files)
	maps.Copy(after, in.others)
	n.give(after)
	n.becomes(open, to.isDirect(open))
}

// becomes waits until a destination is direct, or is no longer direct.
func (n *agentNode) becomes(dst netip.Addr, direct bool) {
	n.t.Helper()
	want := nodeAddress
	if direct {
		want = ownAddress
	}
	until(n.t, dst.String()+" sees "+want, func() bool {
		return n.beyond(n.pod, []netip.Addr{dst})[dst.String()] == want
	})
}

// restore loads a decision by iptables-restore.
func (n *agentNode) restore(d decision) {
	n.t.Helper()
	for program, f := range map[string]masq.Family{"iptables-restore": masq.IPv4, "ip6tables-restore": masq.IPv6} {
		c := n.Node.Command(n.t.Context(), program)
		c.Stdin = strings.NewReader(d.rules(f))
		if out, err := c.CombinedOutput(); err != nil {
			n.t.Fatalf("%s: %v\n%s\n%s", program, err, out, d.rules(f))
		}
	}
}

// The possible source addresses of a packet that arrived.
const (
	ownAddress  = "the pod's own address"
	nodeAddress = "the node's address"
)

// answers maps each destination to the source address that arrived there.
type answers map[string]string

// beyond returns the answers for destinations outside the node.
func (n *agentNode) beyond(p *pod, destinations []netip.Addr) answers {
	n.t.Helper()
	round := n.round()
	word := binary.BigEndian.AppendUint16(nil, round)
	wire := assert.Must(n.Router.Capture("tonode", func(q nstest.Packet) bool {
		return q.Proto == unix.IPPROTO_UDP && q.DstPort == probePort && string(q.Payload) == string(word)
	}))(n.t)
	defer wire.Close()
	var forwarded, sent [][]byte
	for _, dst := range destinations {
		packet := nstest.UDPPacket(at(p.addr(dst), firstSource+round), at(dst, probePort), word)
		if dst.Is6() && dst.IsLinkLocalUnicast() {
			// The kernel does not forward to these addresses. The node sends the packet with
			// the pod's address, as a transparent proxy does.
			sent = append(sent, packet)
		} else {
			forwarded = append(forwarded, packet)
		}
	}
	assert.NoError(n.t, errors.Join(sendAll(p.NS, "", forwarded), sendAll(n.Node, "uplink", sent)))
	seen, err := wire.Wait(soon(n.t), func(all []nstest.Packet) bool { return len(all) >= len(destinations) })
	if err != nil {
		n.t.Errorf("%d of %d probes arrived: %v", len(seen), len(destinations), err)
	}
	out := answers{}
	for _, q := range seen {
		out[q.Dst.String()] = n.whose(p, q.Src)
	}
	return out
}

// sendAll sends IP packets unchanged, packets to link-local addresses by an interface.
// It enters the namespace once for all packets; SendRaw enters it for each.
func sendAll(n *nstest.NS, iface string, packets [][]byte) error {
	return n.Do(func() error {
		var zone uint32
		if iface != "" {
			link, err := net.InterfaceByName(iface)
			if err != nil {
				return err
			}
			zone = uint32(link.Index)
		}
		sockets := map[int]int{}
		var errs []error
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			sockets[family] = fd
		}
		for _, b := range packets {
			p, err := nstest.Decode(b)
			if err != nil {
				return err
			}
			if p.Dst.Is4() {
				err = unix.Sendto(sockets[unix.AF_INET], b, 0, &unix.SockaddrInet4{Addr: p.Dst.As4()})
			} else {
				err = unix.Sendto(sockets[unix.AF_INET6], b, 0, &unix.SockaddrInet6{Addr: p.Dst.As16(), ZoneId: zone})
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("send %v: %w", p, err))
			}
		}
		return errors.Join(errs...)
	})
}

// within returns the answers for addresses of the node: for packets of the pod, and for
// packets that the node sends with the pod's address, as a transparent proxy does. Only
// the latter pass the hook that translates sources.
func (n *agentNode) within(p *pod) answers {
	n.t.Helper()
	round, out := n.round(), answers{}
	for a, server := range n.local {
		for who, from := range map[string]*nstest.NS{"pod": p.NS, "node": n.Node} {
			before := len(server.Seen())
			assert.NoError(n.t, from.SendRaw(nstest.UDPPacket(at(p.addr(a), firstSource+round), at(a, probePort), nil)))
			seen, err := server.WaitSeen(soon(n.t), before+1)
			assert.NoError(n.t, err)
			out[fmt.Sprintf("%s from the %s", a, who)] = n.whose(p, seen[before].Source.Addr())
		}
	}
	return out
}

func (n *agentNode) whose(p *pod, src netip.Addr) string {
	n.t.Helper()
	if src == p.addr(src) {
		return ownAddress
	}
	if src == n.planOf(src).Node || src == n.linkLocal {
		return nodeAddress
	}
	return src.String()
}

// ask returns all answers.
func (n *agentNode) ask(p *pod, destinations []netip.Addr) answers {
	n.t.Helper()
	out := n.beyond(p, destinations)
	maps.Copy(out, n.within(p))
	return out
}

// answers returns the answers that a decision implies.
func (d decision) answers(n *agentNode, destinations []netip.Addr) answers {
	out := answers{}
	for _, dst := range destinations {
		out[dst.String()] = nodeAddress
		if d.isDirect(dst) {
			out[dst.String()] = ownAddress
		}
	}
	for a := range n.local {
		for _, who := range []string{"pod", "node"} {
			out[fmt.Sprintf("%s from the %s", a, who)] = ownAddress
		}
	}
	return out
}

// differences lists, in order, the destinations for which a and b differ.
func (a answers) differences(b answers) (out []string) {
	for dst, of := range a {
		if b[dst] != of {
			out = append(out, fmt.Sprintf("%s: %s, not %s", dst, cmp.Or(of, "nothing"), cmp.Or(b[dst], "nothing")))
		}
	}
	for dst, of := range b {
		if _, asked := a[dst]; !asked {
			out = append(out, fmt.Sprintf("%s: nothing, not %s", dst, of))
		}
	}
	slices.Sort(out)
	return out
}

// edges returns the first and the last address of each prefix, their neighbors, and a
// few others. Addresses that a router does not forward to one host are left out.
func edges(runs []agentRun) []netip.Addr {
	texts := slices.Concat(rfc1918, reservedRanges, []string{"169.254.0.0/16", "fe80::/10", "fe80::/64"})
	for _, r := range runs {
		for _, in := range r.inputs {
			direct := in.want.direct
			if n := len(direct); n > 16 { // in a long list, use prefixes where the list may be cut
				direct = slices.Concat(direct[:1], direct[n-2:])
			}
			texts = append(texts, direct...)
		}
	}
	var out []netip.Addr
	for _, s := range []string{
		openAddress, "8.8.8.8", "9.9.9.9", "169.254.169.254", "223.255.255.254", "255.255.255.254",
		"2606:4700::1111", "2001:db8:2::2", "fd00::1", "fe80::1:1", "febf::1:1",
	} {
		out = append(out, netip.MustParseAddr(s))
	}
	for _, s := range texts {
		p := netip.MustParsePrefix(s)
		out = append(out, p.Addr().Prev(), p.Addr(), masq.LastAddr(p), masq.LastAddr(p).Next())
	}
	broadcast := netip.MustParseAddr("255.255.255.255")
	anycast := netip.MustParseAddr("fe80::") // subnet-router anycast address: the node itself
	out = slices.DeleteFunc(out, func(a netip.Addr) bool {
		return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == broadcast || a == anycast
	})
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
