package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// rpFilter asks the kernel whether replies to containers pass the strict filter of the
// interface that they enter by. The filter drops a reply if the route to its source leads
// to another interface. It looks that route up without the mark of the packets that the
// container sent, unless src_valid_mark is set (__fib_validate_source in
// net/ipv4/fib_frontend.c).
var rpFilter = Check{
	ID:       "rp-filter",
	Title:    "Strict reverse path filtering drops replies to containers",
	Severity: report.SeverityError,
	Reads:    "net.ipv4.conf.*.rp_filter, the kernel's routes of a container's packets and of the replies, IPReversePathFilter of /proc/net/netstat",
	Applies:  "replies enter by another IPv4 uplink than the default: because of an egress address there, or of a routing rule for a mark",
	Remedy:   "Use the loose filter on that uplink: set net.ipv4.conf.UPLINK.rp_filter to 2.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		records := withFamily(n.masqueraded(), masq.IPv4)
		if len(records) == 0 {
			return nil, nil
		}
		best, err := n.bestNextHops(masq.IPv4)
		if err != nil || len(best) == 0 {
			return nil, err
		}
		replies, err := n.repliesToEgress(best)
		if err != nil {
			return nil, err
		}
		marked, err := n.markedReplies(records, best)
		if err != nil {
			return nil, err
		}
		replies = append(replies, marked...)
		if len(replies) == 0 {
			return nil, nil
		}
		interfaces, err := n.interfaces()
		if err != nil {
			return nil, err
		}
		packets := make([]veth.ForwardedPacket, 0, len(replies))
		for _, r := range replies {
			packets = append(packets, r.packet)
		}
		accepted, err := queryLinks(n, "replies", func(c *veth.Conn) ([]int, error) { return c.Forward(packets) })
		if err != nil {
			return nil, err
		}
		var out []Finding
		seen := map[int]bool{}
		for i, r := range replies {
			if accepted[i] == 0 && !seen[r.packet.Index] {
				seen[r.packet.Index] = true
				out = append(out, n.rpFilterFinding(r, interfaces[r.packet.Index].Name, best[0]))
			}
		}
		return out, nil
	},
}

// reply is a packet that the kernel would receive for a container.
type reply struct {
	packet veth.ForwardedPacket
	pod    string
	why    string   // why it enters by this interface
	shown  Evidence // what shows that
}

// isStrict reports whether the filter of an interface is strict: the larger of its value and
// the value of conf.all applies.
func (n *Node) isStrict(iface string) bool {
	value := func(name string) int {
		s, _ := n.sysctl(confKey(masq.IPv4, name, "rp_filter"))
		v, _ := strconv.Atoi(s)
		return v
	}
	return max(value("all"), value(iface)) == 1
}

// repliesToEgress returns a reply for each egress address in the subnet of an interface with
// a strict filter that is not an uplink of the default route.
func (n *Node) repliesToEgress(best []veth.NextHop) (out []reply, err error) {
	policies, err := n.policies()
	if err != nil || !slices.ContainsFunc(policies, func(p masq.Policy) bool { return len(p.SNATAddresses) > 0 }) {
		return nil, err
	}
	links, err := n.containerLinks()
	if err != nil {
		return nil, err
	}
	records := n.masqueraded()
	asked := map[netip.Addr]bool{}
	for i, p := range policies {
		for _, e := range p.SNATAddresses {
			a, link := ipv4Link(&records[i], links)
			if !e.Is4() || link == 0 || asked[e] {
				continue
			}
			asked[e] = true
			subnet, uplink, err := n.subnetOf(e)
			if err != nil {
				return nil, err
			}
			isBest := slices.ContainsFunc(best, func(h veth.NextHop) bool { return h.Index == uplink.Index })
			if uplink.Index == 0 || isBest || !n.isStrict(uplink.Name) {
				continue
			}
			out = append(out, reply{
				packet: veth.ForwardedPacket{Src: veth.Outside(masq.IPv4), Dst: a, Index: uplink.Index}, pod: podsOf(records[i : i+1]),
				why:   "the egress address " + e.String() + " is in the subnet of " + uplink.Name,
				shown: Evidence{"address of interface " + uplink.Name, subnet.String()},
			})
		}
	}
	return out, nil
}

// subnetOf returns the interface whose subnet contains an address, and its address. The
// index is 0 if no interface or several have such a subnet.
func (n *Node) subnetOf(a netip.Addr) (subnet netip.Prefix, i veth.Interface, err error) {
	addresses, err := n.addresses()
	if err != nil {
		return subnet, i, err
	}
	interfaces, err := n.interfaces()
	if err != nil {
		return subnet, i, err
	}
	for _, x := range addresses {
		at := interfaces[x.Index]
		if !at.Neighbors || at.Managed || x.IsSingleIP() || !x.Masked().Contains(a) || at.Index == i.Index {
			continue
		}
		if i.Index != 0 {
			return subnet, veth.Interface{}, nil
		}
		subnet, i = x.Prefix, at
	}
	return subnet, i, nil
}

// ipv4Link returns the IPv4 address of a container and the interface that leads to it, or 0.
func ipv4Link(r *store.Record, links map[netip.Addr]int) (a netip.Addr, link int) {
	for _, a := range r.Addresses {
		if index, ok := links[a]; ok && a.Is4() {
			return a, index
		}
	}
	return netip.Addr{}, 0
}

// markedReplies returns replies to packets that leave by another uplink because of their
// mark. Whether packets of containers have the mark is not known: if the filter has dropped
// no packet, there are none.
func (n *Node) markedReplies(records []store.Record, best []veth.NextHop) (out []reply, err error) {
	hops, err := n.nextHops(masq.IPv4)
	if err != nil {
		return nil, err
	}
	strict := map[int]veth.NextHop{}
	for _, h := range hops {
		if !slices.ContainsFunc(best, func(b veth.NextHop) bool { return b.Index == h.Index }) && n.isStrict(h.Interface) {
			strict[h.Index] = h
		}
	}
	if len(strict) == 0 {
		return nil, nil
	}
	if dropped, err := n.netstat("IPReversePathFilter"); err != nil || dropped == 0 {
		return nil, err
	}
	marks, err := queryLinks(n, "marks", (*veth.Conn).Marks)
	if err != nil || len(marks) == 0 {
		return nil, err
	}
	links, err := n.containerLinks()
	if err != nil {
		return nil, err
	}
	a, link := netip.Addr{}, 0
	pod := 0
	for i := range records {
		if a, link = ipv4Link(&records[i], links); link != 0 {
			pod = i
			break
		}
	}
	if link == 0 {
		return nil, nil
	}
	for _, mark := range marks {
		packet := veth.ForwardedPacket{Src: a, Dst: veth.Outside(masq.IPv4), Index: link, Mark: mark}
		leaves, err := queryLinks(n, fmt.Sprintf("route of mark %d", mark), func(c *veth.Conn) ([]int, error) { return c.Forward([]veth.ForwardedPacket{packet}) })
		if err != nil {
			return nil, err
		}
		h, ok := strict[leaves[0]]
		if !ok || n.validatesMark(h.Interface) {
			continue
		}
		out = append(out, reply{
			packet: veth.ForwardedPacket{Src: packet.Dst, Dst: a, Index: h.Index}, pod: podsOf(records[pod : pod+1]),
			why:   fmt.Sprintf("packets with the mark %#x leave by %s", mark, h.Interface),
			shown: Evidence{fmt.Sprintf("route of a container's packet with the mark %#x", mark), routeName(h)},
		})
	}
	return out, nil
}

// validatesMark reports whether the filter of an interface looks up the route with the
// reply's mark. Rules of nftables may restore the mark.
func (n *Node) validatesMark(iface string) bool {
	own, _ := n.sysctl(confKey(masq.IPv4, iface, "src_valid_mark"))
	all, _ := n.sysctl(confKey(masq.IPv4, "all", "src_valid_mark"))
	return own == "1" || all == "1"
}

func (n *Node) rpFilterFinding(r reply, uplink string, best veth.NextHop) Finding {
	key := confKey(masq.IPv4, uplink, "rp_filter")
	x := Finding{
		Severity: report.SeverityError,
		Object:   "uplink " + uplink,
		Message:  "drops replies to containers: its reverse path filter is strict, and the node's route to their source leads to " + best.Interface,
		Evidence: []Evidence{
			n.sysctlEvidence(key), n.sysctlEvidence(confKey(masq.IPv4, "all", "rp_filter")),
			{"the node's route to " + veth.Outside(masq.IPv4).String(), routeName(best)},
			r.shown,
		},
		Why:    "Replies to " + r.pod + " enter by " + uplink + ", because " + r.why + ". They are dropped there, and connections time out.",
		Remedy: Remedy{Text: "use the loose filter there", Commands: []string{setSysctl(key, "2")}},
	}
	if v, err := n.netstat("IPReversePathFilter"); err == nil {
		x.Evidence = append(x.Evidence, Evidence{"/proc/net/netstat TcpExt IPReversePathFilter", fmt.Sprint(v)})
	}
	return x
}

// netstat returns a counter of /proc/net/netstat.
func (n *Node) netstat(name string) (uint64, error) {
	all, err := read(n, "netstat", func() (map[string]uint64, error) {
		b, err := os.ReadFile("/proc/thread-self/net/netstat")
		return parseNetstat(string(b)), err
	})
	v, ok := all[name]
	if err == nil && !ok {
		err = notChecked("/proc/net/netstat has no " + name)
	}
	return v, err
}

// parseNetstat reads pairs of lines: the names of counters, and their values.
func parseNetstat(text string) map[string]uint64 {
	out := map[string]uint64{}
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < min(len(names), len(values)); j++ {
			out[names[j]], _ = strconv.ParseUint(values[j], 10, 64)
		}
	}
	return out
}
