package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// egressRemoval is a node that translates to several addresses, of which it will lose one of
// each family, and a container whose flows have left with all of them.
type egressRemoval struct {
	*listener
	pod        *pod
	lost, kept []netip.Addr
	flows      []*conversation
}

func newEgressRemoval(t *testing.T, lost, kept []netip.Addr) *egressRemoval {
	t.Helper()
	return &egressRemoval{listener: newManyAddresses(t).listener(), lost: lost, kept: kept}
}

// translateTo writes a configuration with these addresses.
func (s *egressRemoval) translateTo(addresses ...netip.Addr) string {
	s.t.Helper()
	return s.writeConfig("snatAddresses: " + fmt.Sprint(listOf(addresses)) + "\n")
}

func listOf(addresses []netip.Addr) string {
	out := "["
	for i, a := range addresses {
		if i > 0 {
			out += ", "
		}
		out += a.String()
	}
	return out + "]"
}

// begin begins at least two flows of each protocol with each of the addresses.
func (s *egressRemoval) begin() {
	s.t.Helper()
	for _, plan := range s.Plans() {
		for _, network := range []string{"udp", "tcp"} {
			seen := map[netip.Addr]int{}
			few := func(a netip.Addr) bool { return a.Is4() == plan.Node.Is4() && seen[a] < 2 }
			for n := 0; slices.ContainsFunc(slices.Concat(s.lost, s.kept), few); n++ {
				if n == chances {
					s.t.Fatalf("%d flows of %s leave as %v", n, network, seen)
				}
				c := s.converse(s.pod.NS, network, plan.Server)
				seen[c.as.Addr()]++
				s.flows = append(s.flows, c)
			}
		}
	}
}

// as returns the flows that left with one of these addresses.
func (s *egressRemoval) as(addresses []netip.Addr) (out []*conversation) {
	for _, c := range s.flows {
		if slices.Contains(addresses, c.as.Addr()) {
			out = append(out, c)
		}
	}
	return out
}

// wantSame checks that all of the flows continue.
func (s *egressRemoval) wantSame(when string, flows []*conversation) {
	s.t.Helper()
	for _, c := range flows {
		c.wantSame(when)
	}
}

// wantNew checks that flows with a lost address begin again, and that the others continue.
func (s *egressRemoval) wantNew(when string) {
	s.t.Helper()
	for _, c := range s.as(s.lost) {
		c.wantNew(when, s.kept...)
	}
	s.wantSame(when, s.as(s.kept))
	s.wantFresh(when)
}

// wantFresh checks that new flows begin with a remaining address.
func (s *egressRemoval) wantFresh(when string) {
	s.t.Helper()
	for _, plan := range s.Plans() {
		for _, network := range []string{"udp", "tcp", "udp", "tcp"} {
			if c := s.converse(s.pod.NS, network, plan.Server); !slices.Contains(s.kept, c.as.Addr()) {
				s.t.Errorf("%s: a flow begins: %v", when, c)
			}
		}
	}
}

// lose removes the addresses from a link. Addresses of the uplink are then given to another
// host: packets to them no longer reach the node.
func (s *egressRemoval) lose(link string) {
	s.t.Helper()
	for _, a := range s.lost {
		assert.NoError(s.t, s.Node.RemoveAddress(link, netip.PrefixFrom(a, a.BitLen())))
		if link == "uplink" {
			assert.NoError(s.t, s.Router.Command(s.t.Context(), "ip", "neighbour", "replace", a.String(),
				"lladdr", "02:00:00:00:00:77", "dev", "tonode", "nud", "permanent").Run())
		}
	}
}

// forgotten waits until the rules do not name the addresses, and masqd has checked the
// flows.
func (s *egressRemoval) forgotten(d *daemon) {
	s.t.Helper()
	for _, a := range s.lost {
		until(s.t, fmt.Sprintf("%s is not in the rules", a), func() bool { return !s.inRules(a) })
	}
	d.syncs()
}

const egressRemovedTotal = "masq_egress_removed_flows_total"

var (
	onUplink = []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8:1::11")}
	alsoThat = []netip.Addr{netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("2001:db8:5::12")}
)

// TestFlowsOfRemovedEgressAddresses: after an address is removed from snatAddresses, its
// flows continue while the node has the address. When the node loses it, they begin again,
// and no others do. Without masqd they wait for answers that never arrive.
func TestFlowsOfRemovedEgressAddresses(t *testing.T) {
	for _, repaired := range []bool{true, false} {
		t.Run(map[bool]string{true: "masqd", false: "no masqd"}[repaired], func(t *testing.T) {
			s := newEgressRemoval(t, onUplink, alsoThat)
			d := s.daemon("--config", s.translateTo(slices.Concat(s.lost, s.kept)...))
			s.pod = s.attach("a", s.conflist("1.1.0", s.masq()))
			s.begin()
			others := s.ofOtherPrograms()
			s.translateTo(s.kept...)
			s.forgotten(d)
			s.wantSame("the node has the addresses", slices.Concat(s.flows, others.work, others.lost))
			s.wantFresh("after the change")
			d.counts(egressRemovedTotal, "0")
			if !repaired {
				d.end()
			}

			s.lose("uplink")
			if !repaired {
				wantStuck("the addresses are gone", s.as(s.lost)...)
				s.wantSame("the addresses are gone", s.as(s.kept))
				s.wantFresh("the addresses are gone")
				return
			}
			d.counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
			s.wantNew("the addresses are gone")
			s.wantSame("of other programs", others.work)
			wantStuck("of other programs", others.lost...)
			d.counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
		})
	}
}

// otherFlows are flows that rules of another program translate.
type otherFlows struct {
	work []*conversation // flows of the container, translated to an address that is routed to the node
	lost []*conversation // flows of another program's container, translated to an address that will be lost
}

// ofOtherPrograms begins flows that another program translates: flows of the container, to an
// address that is routed to the node, and flows of another program's container, to an address
// that the node will lose.
func (s *egressRemoval) ofOtherPrograms() (out otherFlows) {
	s.t.Helper()
	routed := netip.MustParseAddr("198.18.0.99")
	host := netip.PrefixFrom(routed, 32)
	assert.NoError(s.t, s.Router.Route(host, s.V4.Node))
	assert.NoError(s.t, s.Server.Route(host, s.V4.ServerNet.Addr().Next()))
	service := netip.MustParseAddr("198.51.100.7")
	addAddress(s.t, s.Server, "eth0", netip.PrefixFrom(service, 32))
	ipam := s.masqOn("10.89.0.0/16")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
	theirs := s.attach("theirs", s.namedConflist("theirs", "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}))
	// The other program's chain has an earlier priority.
	s.nodeRun("nft", fmt.Sprintf("table ip theirs { chain c { type nat hook postrouting priority srcnat - 10; "+
		"ip saddr 10.89.0.0/16 snat to %s; ip daddr %s snat to %s; }; }", s.lost[0], service, routed))
	for _, network := range []string{"udp", "tcp"} {
		out.work = append(out.work, s.converse(s.pod.NS, network, service))
		out.lost = append(out.lost, s.converse(theirs.NS, network, s.V4.Server))
	}
	for _, c := range slices.Concat(out.work, out.lost) {
		if want := map[bool]netip.Addr{true: routed, false: s.lost[0]}[slices.Contains(out.work, c)]; c.as.Addr() != want {
			s.t.Fatalf("%v, not as %s, so the test proves nothing", c, want)
		}
	}
	return out
}

// TestFlowsOfRoutedEgressAddresses: an address may be routed to the node without being
// assigned to it. While the configuration or an attachment declares it, its flows continue.
func TestFlowsOfRoutedEgressAddresses(t *testing.T) {
	s := newEgressRemoval(t, []netip.Addr{egressAddresses[0][2], egressAddresses[1][1]}, []netip.Addr{egressAddresses[0][0], egressAddresses[1][0]})
	both := slices.Concat(s.lost, s.kept)
	d := s.daemon("--config", s.writeConfig("snatAddresses: "+listOf(both)+"\nsnatAddressesRouted: "+listOf(s.lost)+"\n"))
	s.pod = s.attach("a", s.conflist("1.1.0", s.masq()))
	ranges := []any{[]any{keys{"subnet": "10.90.0.0/16"}}, []any{keys{"subnet": "fd00:90::/64"}}}
	own := s.attach("own", s.namedConflist("own", "1.1.0", s.masq().With(keys{
		"snatAddresses": both, "snatAddressesRouted": s.lost, "ipam": s.masq()["ipam"].(keys).With(keys{"ranges": ranges}),
	})))
	s.begin()

	heard := d.metric(`masq_syncs_total{reason="addresses"}`)
	s.lose("lo")
	until(t, "masqd receives the event", func() bool { return d.metric(`masq_syncs_total{reason="addresses"}`) != heard })
	d.counts(egressRemovedTotal, "0")
	if code, text := d.get("/readyz"); code != http.StatusOK || strings.Contains(text, s.lost[0].String()) {
		t.Errorf("readyz: %d %s", code, text)
	}
	s.wantSame("routed to the node", s.flows)
	s.begin() // flows begin with these addresses and are answered

	s.translateTo(s.kept...)
	d.syncs()
	s.wantFresh("after the change")
	for _, a := range s.lost {
		if !s.inRules(a) {
			t.Errorf("%s is not in the rules, so the test proves nothing", a)
		}
	}
	d.counts(egressRemovedTotal, "0")
	s.wantSame("named by another attachment", s.flows)

	own.detach()
	d.counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
	s.wantNew("no policy names the addresses")
}

// TestEgressAddressesRemovedWhileStopped: a masqd that starts handles addresses that were
// removed while it was not running.
func TestEgressAddressesRemovedWhileStopped(t *testing.T) {
	begin := func(t *testing.T) (s *egressRemoval, args []string) {
		s = newEgressRemoval(t, onUplink, alsoThat)
		args = []string{"--config", s.translateTo(slices.Concat(s.lost, s.kept)...)}
		d := s.daemon(args...)
		s.pod = s.attach("a", s.conflist("1.1.0", s.masq()))
		s.begin()
		d.syncs()
		d.end()
		return s, args
	}
	t.Run("the address", func(t *testing.T) {
		s, args := begin(t)
		s.lose("uplink")
		s.daemon(args...).counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
		s.wantNew("masqd has begun")
	})
	t.Run("the address and the configuration", func(t *testing.T) {
		s, args := begin(t)
		s.lose("uplink")
		s.translateTo(s.kept...)
		s.daemon(args...).counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
		s.wantNew("masqd has begun")
	})
	t.Run("the configuration", func(t *testing.T) {
		s, args := begin(t)
		s.translateTo(s.kept...)
		d := s.daemon(args...)
		s.forgotten(d)
		d.counts(egressRemovedTotal, "0")
		s.wantSame("the node has the addresses", s.flows)
		s.lose("uplink")
		d.counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
		s.wantNew("the addresses are gone")
	})
}

// TestEgressAddressesOfSeveralPolicies: an attachment keeps the policy of its ADD, and its
// address as long as the node has it. Another attachment of the network with another policy
// changes nothing.
func TestEgressAddressesOfSeveralPolicies(t *testing.T) {
	s := newEgressRemoval(t, onUplink, alsoThat)
	d := s.daemon()
	network := func(addresses []netip.Addr) keys { return s.masq().With(keys{"snatAddresses": addresses}) }
	s.pod = s.attach("old", s.conflist("1.1.0", network(slices.Concat(s.lost, s.kept))))
	s.begin()
	old := s.pod
	s.pod = s.attach("new", s.conflist("1.1.0", network(s.kept)))
	until(t, "masqd knows both", func() bool { return d.metric("masq_attachments") == "2" })
	s.wantFresh("the new attachment")
	d.counts(egressRemovedTotal, "0")
	s.wantSame("the node has the addresses", s.flows)
	s.lose("uplink")
	d.counts(egressRemovedTotal, fmt.Sprint(len(s.as(s.lost))))
	s.pod = old
	s.wantNew("the addresses are gone")
	assert.NoError(t, old.tryCheck(old.list))
}
