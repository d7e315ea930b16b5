package e2e

import (
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// policyOf returns the ID of a pod's policy in the kernel.
func (p *pod) policyOf() string {
	p.w.t.Helper()
	listing := p.w.nodeRun("nft", "list", "map", "inet", "masq", "policy4")
	m := regexp.MustCompile(regexp.QuoteMeta(p.addr(p.w.V4.Node).String()) + `\s[^:]*: goto policy-([0-9a-z-]+)`).FindStringSubmatch(listing)
	if m == nil {
		p.w.t.Fatalf("%s has no policy in\n%s", p.addr(p.w.V4.Node), listing)
	}
	return m[1]
}

// TestEgressAddressLeaves: flows leave with a listed address that the node has at the
// time. If the node has no address of a family, they are dropped and counted, and never
// leave with another address. The policy of a network, the policy of the node, and sources
// that another plugin wired are tried.
func TestEgressAddressLeaves(t *testing.T) {
	for _, of := range []string{"network", "node", "sources"} {
		t.Run(of, func(t *testing.T) {
			s := newEgressRemoval(t, onUplink, alsoThat)
			both := slices.Concat(s.lost, s.kept)
			s.lost, s.kept = []netip.Addr{s.lost[0], s.kept[1]}, []netip.Addr{s.kept[0], s.lost[1]}
			var d *daemon
			switch of {
			case "network":
				d = s.daemon()
				s.pod = s.attach("a", s.conflist("1.1.0", s.masq().With(keys{"snatAddresses": both})))
				until(t, "masqd knows the attachment", func() bool { return d.metric("masq_attachments") == "1" })
			case "node":
				d = s.daemon("--config", s.translateTo(both...))
				s.pod = s.attach("a", s.conflist("1.1.0", s.masq()))
			case "sources":
				d = s.daemon("--config", s.writeConfig("sourceCIDRs: [10.88.0.0/16, \"fd00:88::/64\"]\nsnatAddresses: "+listOf(both)+"\n"))
				ipam := s.masq()["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}}})
				s.pod = s.attach("a", s.conflist("1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}))
			}
			s.begin()
			wantMissing(t, d)

			// One address of each family is removed: flows end, and begin again with the other.
			s.loseFromBoth()
			d.counts(egressRemovedTotal, strconv.Itoa(len(s.as(s.lost))))
			s.wantNew("one of two addresses is removed")
			wantMissing(t, d, s.lost...)

			// The last address is removed: nothing leaves.
			rest := slices.Clone(s.kept)
			s.lost, s.kept = s.kept, nil
			s.loseFromBoth()
			until(t, "no address is in the rules", func() bool { return !s.inRules(rest[0]) && !s.inRules(rest[1]) })
			wantMissing(t, d, both...)
			s.wantDropped()

			// One address is added again, on the loopback.
			back := []netip.Addr{egressAddresses[0][1], egressAddresses[1][1]}
			dropped := []int{s.counted("policy/no-egress4"), s.counted("policy/no-egress6")}
			s.onLoopback(back)
			until(t, "the addresses are in the rules", func() bool { return s.inRules(back[0]) && s.inRules(back[1]) })
			s.kept = back
			s.wantFresh("an address is on the loopback again")
			wantMissing(t, d, onUplink...)
			sum := strconv.Itoa(dropped[0] + dropped[1])
			until(t, "the metrics count the dropped packets", func() bool { return d.metric(`masq_dropped_packets_total{reason="no-egress-address"}`) == sum })
			// The count stays.
			if now := []int{s.counted("policy/no-egress4"), s.counted("policy/no-egress6")}; !slices.Equal(now, dropped) {
				t.Errorf("%v packets were dropped, now %v", dropped, now)
			}
		})
	}
}

// loseFromBoth removes the addresses from the links that have them.
func (s *egressRemoval) loseFromBoth() {
	s.t.Helper()
	for _, a := range s.lost {
		link := "uplink"
		if a == egressAddresses[1][1] {
			link = "lo"
		}
		assert.NoError(s.t, s.Node.RemoveAddress(link, netip.PrefixFrom(a, a.BitLen())))
		if link == "uplink" {
			s.forgetNeighbour(a)
		}
	}
}

// forgetNeighbour flushes an address from the router's ARP or neighbor table. Otherwise
// the router would send to the node for minutes.
func (s *egressRemoval) forgetNeighbour(a netip.Addr) {
	s.t.Helper()
	family := map[bool]string{true: "-4", false: "-6"}[a.Is4()]
	assert.NoError(s.t, s.Router.Command(s.t.Context(), "ip", family, "neighbour", "flush", "to", a.String(), "dev", "tonode").Run())
}

// onLoopback adds addresses to the node's loopback, and routes to them on the router.
func (s *egressRemoval) onLoopback(addresses []netip.Addr) {
	s.t.Helper()
	for i, p := range s.Plans() {
		host := netip.PrefixFrom(addresses[i], addresses[i].BitLen())
		addAddress(s.t, s.Node, "lo", host)
		if p.UplinkNet.Contains(addresses[i]) {
			assert.NoError(s.t, errors.Join(s.Router.Route(host, p.Node)))
			s.forgetNeighbour(addresses[i])
		}
	}
}

// wantDropped checks that the pod's packets are counted and that none leaves the node.
func (s *egressRemoval) wantDropped() {
	s.t.Helper()
	for i, p := range s.Plans() {
		rule := []string{"policy/no-egress4", "policy/no-egress6"}[i]
		arrived := assert.Must(s.Server.Capture("eth0", toward(p.Server)))(s.t)
		leaving := assert.Must(s.Router.Capture("tonode", func(q nstest.Packet) bool { return q.Dst == p.Server && !neighbours(q) }))(s.t)
		before := s.counted(rule)
		c := assert.Must(s.pod.Dial(soon(s.t), "udp", netip.AddrPort{}, at(p.Server, 9)))(s.t)
		assert.Must(c.Write([]byte("to be dropped")))(s.t)
		until(s.t, "the packet is counted", func() bool { return s.counted(rule) > before })
		_ = c.Close()
		s.passes(p) // packets sent before have left
		for _, q := range append(packets(s.t, arrived), packets(s.t, leaving)...) {
			if q.Proto == unix.IPPROTO_UDP {
				s.t.Errorf("a packet left: %v", q)
			}
		}
	}
}

// wantMissing checks that readiness, metrics and inspect name these addresses, and no other
// listed address.
func wantMissing(t *testing.T, d *daemon, missing ...netip.Addr) {
	t.Helper()
	all := slices.Concat(onUplink, alsoThat)
	until(t, "the metrics name the missing addresses", func() bool {
		_, text := d.get("/metrics")
		return !slices.ContainsFunc(all, func(a netip.Addr) bool {
			return strings.Contains(text, `masq_egress_address_missing{address="`+a.String()+`"`) != slices.Contains(missing, a)
		})
	})
	code, text := d.get("/readyz")
	want := http.StatusOK
	if len(missing) == len(all) {
		want = http.StatusServiceUnavailable
	}
	if code != want {
		t.Errorf("readyz is %d with %v missing: %s", code, missing, text)
	}
	node := inspect[report.Node](d.w)
	var said strings.Builder
	for _, p := range node.Problems {
		if p.Kind == report.KindEgressMissing {
			said.WriteString(p.Advice() + "\n")
		}
	}
	for _, a := range all {
		is := slices.Contains(missing, a)
		if strings.Contains(text, "address "+a.String()+";") != is {
			t.Errorf("%s is missing: %t; readyz says %s", a, is, text)
		}
		if strings.Contains(said.String(), "address "+a.String()) != is {
			t.Errorf("%s is missing: %t; inspect says %s", a, is, said.String())
		}
	}
	if node.Table.Drift != 0 {
		t.Errorf("inspect finds %d differences where masqd finds none", node.Table.Drift)
	}
}
