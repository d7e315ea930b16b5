package portpool

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// model counts with a set of ports for each group.
func model(flows []conntrack.Flow, p *Pools) []Usage { return modelReusing(flows, p, false) }

func modelReusing(flows []conntrack.Flow, p *Pools, reuses bool) []Usage {
	taken, closing := map[Group]map[uint16]bool{}, map[Group]map[uint16]bool{}
	pools := map[Group]map[int32]bool{}
	// It is the tuple of a packet from the destination.
	take := func(t conntrack.Tuple, kind uint16) (Group, uint16) {
		g, port := Group{t.Proto, t.Dst, t.Src, t.SrcPort, t.Zone}, t.DstPort
		if isICMP(t.Proto) {
			g.Port, port = kind, t.ID
		}
		if taken[g] == nil {
			taken[g], closing[g], pools[g] = map[uint16]bool{}, map[uint16]bool{}, map[int32]bool{}
		}
		taken[g][port] = true
		return g, port
	}
	for i := range flows {
		f := &flows[i]
		if f.Reply.Proto == unix.IPPROTO_GRE {
			continue
		}
		g, port := take(f.Reply, uint16(f.Original.Type)<<8|uint16(f.Original.Code))
		if f.Translated() {
			pools[g][p.poolOf(f)] = true
			if f.Reply.Proto == unix.IPPROTO_TCP && f.State >= conntrack.TCPTimeWait {
				closing[g][port] = true
			}
		} else {
			// No reply has the type of a request.
			take(f.Original, 0xffff)
		}
	}
	var out []Usage
	for g := range taken {
		var fullest Usage
		for at := range pools[g] {
			u := Usage{Group: g, Ranges: p.all[at].ranges, Usable: p.all[at].size}
			for _, r := range u.Ranges {
				for port := range taken[g] {
					if r.First <= port && port <= r.Last {
						if closing[g][port] {
							u.Closing++
						}
						if !closing[g][port] || !reuses {
							u.Used++
						}
					}
				}
			}
			if fullest.Usable == 0 || u.Share() > fullest.Share() || u.Share() == fullest.Share() && u.Usable < fullest.Usable {
				fullest = u
			}
		}
		if fullest.Usable > 0 {
			out = append(out, fullest)
		}
	}
	slices.SortFunc(out, func(a, b Usage) int { return compareUsage(&a, &b) })
	return out
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var (
	egress = []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1")}
	// defaultPolicy is a policy without toPorts.
	defaultPolicy = masq.Default()

	remote = []netip.Addr{addr("198.51.100.1"), addr("198.51.100.2"), addr("203.0.113.9"), addr("2001:db8:f::1")}
)

// pods returns the pools of attachments with three policies, and of a source prefix.
func pods() *Pools {
	own := masq.Policy{ToPorts: []masq.PortRange{{First: 30000, Last: 30009}, {First: 20000, Last: 20009}}}
	wide := masq.Policy{ToPorts: []masq.PortRange{{First: 20000, Last: 20999}}}
	plain := masq.Default()
	return PoolsOf([]masq.Attachment{
		{Addresses: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, Policy: &own},
		{Addresses: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}, Policy: &wide},
		{Addresses: []netip.Addr{addr("10.0.0.3"), addr("fd00::3")}, Policy: &plain},
		{Addresses: []netip.Addr{addr("10.9.0.1")}, Policy: &plain},
	}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, wide)
}

// flowOf returns a flow of a group with a source port, translated if egress address and
// port differ from its source.
func flowOf(from netip.AddrPort, g Group, port uint16) conntrack.Flow {
	f := conntrack.Flow{
		Original: conntrack.Tuple{Proto: g.Protocol, Src: from.Addr(), SrcPort: from.Port(), Dst: g.Destination, DstPort: g.Port, Zone: g.Zone},
		Reply:    conntrack.Tuple{Proto: g.Protocol, Src: g.Destination, SrcPort: g.Port, Dst: g.Egress, DstPort: port, Zone: g.Zone},
		Status:   conntrack.Confirmed | conntrack.SrcNATDone,
	}
	if isICMP(g.Protocol) {
		f.Original.SrcPort, f.Original.DstPort, f.Original.ID = 0, 0, from.Port()
		f.Original.Type, f.Original.Code = uint8(g.Port>>8), uint8(g.Port)
		f.Reply.SrcPort, f.Reply.DstPort, f.Reply.ID, f.Reply.Type = 0, 0, port, 129
		if g.Protocol == unix.IPPROTO_ICMP {
			f.Reply.Type = 0
		}
	}
	if g.Protocol == unix.IPPROTO_TCP {
		f.Fields, f.State = conntrack.HasState, conntrack.TCPEstablished
	}
	if from != netip.AddrPortFrom(g.Egress, port) {
		f.Status |= conntrack.SrcNAT
	}
	return f
}

// randomFlows returns flows of all kinds in few groups, many of which share ports.
func randomFlows(r *rand.Rand, n int) []conntrack.Flow {
	sources := map[bool][]netip.Addr{
		true:  {addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.3"), addr("10.9.0.1"), addr("10.9.0.2"), addr("10.77.0.1")},
		false: {addr("fd00::1"), addr("fd00::2"), addr("fd00::3")},
	}
	seen := map[conntrack.Tuple]bool{}
	var out []conntrack.Flow
	for range n {
		g := Group{
			Protocol: []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_ICMP, unix.IPPROTO_GRE}[r.IntN(5)],
			Egress:   egress[r.IntN(len(egress))], Destination: remote[r.IntN(len(remote))],
			Port: []uint16{80, 443}[r.IntN(2)], Zone: uint16(r.IntN(8) / 7),
		}
		if g.Egress.Is4() != g.Destination.Is4() {
			continue
		}
		if g.Protocol == unix.IPPROTO_ICMP {
			g.Port = 8 << 8
			if g.Egress.Is6() {
				g.Protocol, g.Port = unix.IPPROTO_ICMPV6, 128<<8
			}
		}
		all := sources[g.Egress.Is4()]
		from := netip.AddrPortFrom(all[r.IntN(len(all))], uint16([]int{1, 600, 1024}[r.IntN(3)]+r.IntN(400)))
		port := uint16([]int{20000, 30000, 1, 600, 1024}[r.IntN(5)] + r.IntN(15))
		f := flowOf(from, g, port)
		switch r.IntN(6) {
		case 0: // a flow from the node
			f = flowOf(netip.AddrPortFrom(g.Egress, port), g, port)
		case 1: // from the destination
			if !isICMP(g.Protocol) {
				f = flowOf(netip.AddrPortFrom(g.Egress, port), g, port)
				f.Original, f.Reply = f.Reply, f.Original
			}
		case 2:
			if g.Protocol == unix.IPPROTO_TCP {
				f.State = conntrack.TCPTimeWait
			}
		}
		if seen[f.Reply] || seen[f.Original] {
			continue // the kernel has each tuple once
		}
		seen[f.Reply], seen[f.Original] = true, true
		out = append(out, f)
	}
	return out
}

// count dumps flows until the result is exact, at most twice.
func count(t testing.TB, c *Counter, p *Pools, flows []conntrack.Flow) (usages []Usage, unlisted float64, dumps int) {
	t.Helper()
	return countWithin(t, 2, c, p, flows)
}

func countWithin(t testing.TB, most int, c *Counter, p *Pools, flows []conntrack.Flow) (usages []Usage, unlisted float64, dumps int) {
	t.Helper()
	for exact := false; !exact; {
		if dumps++; dumps > most {
			t.Fatalf("not exact after %d dumps; other groups have at most %v", most, unlisted)
		}
		c.Begin(p)
		for i := range flows {
			c.Add(&flows[i])
		}
		usages, unlisted, exact = c.End()
	}
	return usages, unlisted, dumps
}

// checkUsages fails unless got has the fullest usages of want. It does not matter which of
// several equally full groups are last. Groups without a port in use may be left out.
func checkUsages(t testing.TB, got, want []Usage, most int) {
	t.Helper()
	idle := func(u Usage) bool { return u.Used == 0 }
	got, want = slices.DeleteFunc(slices.Clone(got), idle), slices.DeleteFunc(slices.Clone(want), idle)
	byGroup := map[Group]Usage{}
	for _, u := range want {
		byGroup[u.Group] = u
	}
	if len(got) != min(most, len(want)) {
		t.Fatalf("%d groups, want %d of %d", len(got), most, len(want))
	}
	for i, u := range got {
		if w := byGroup[u.Group]; !slices.Equal(u.Ranges, w.Ranges) || u.Used != w.Used || u.Usable != w.Usable || u.Closing != w.Closing {
			t.Fatalf("%+v, want %+v", u, w)
		}
		if u.Share() != want[i].Share() {
			t.Fatalf("number %d is %+v, want %+v", i, u, want[i])
		}
	}
}
