package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const gapTotal = "masq_untranslated_flows_total"

// sourced is a node with pods that ptp has connected and that it does not masquerade. The far
// end has a route to each pod, and has an address that is direct.
type sourced struct {
	*listener
	pod    *pod // 10.88.0.0/16 and fd00:88::/64
	direct []netip.Addr
}

// prefixes are the sources as a YAML list.
const podSources = "[10.88.0.0/16, fd00:88::/64]"

func newSourced(t *testing.T) *sourced {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	s := &sourced{listener: w.listener(), direct: []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00:1::1")}}
	for i, p := range s.Plans() {
		host := netip.PrefixFrom(s.direct[i], s.direct[i].BitLen())
		addAddress(t, s.Server, "eth0", host)
		assert.NoError(t, s.Router.Route(host, p.Server))
	}
	// Another program tracks connections too, as kube-proxy does.
	w.nft("add table inet other { chain c { type filter hook forward priority 0; ct state established accept; }; }")
	s.pod = s.wired("a", "10.88.0.0/16", "fd00:88::/64")
	return s
}

// wired returns a pod of ptp.
func (s *sourced) wired(id string, subnets ...string) *pod {
	s.t.Helper()
	var ranges, routes []any
	for _, subnet := range subnets {
		ranges = append(ranges, []any{keys{"subnet": subnet}})
		routes = append(routes, keys{"dst": map[bool]string{true: "0.0.0.0/0", false: "::/0"}[netip.MustParsePrefix(subnet).Addr().Is4()]})
	}
	ipam := s.masq()["ipam"].(keys).With(keys{"ranges": ranges, "routes": routes})
	return s.attach(id, s.namedConflist("of-"+id, "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}))
}

// config returns a configuration with these sources.
func (s *sourced) config(sources string) string {
	s.t.Helper()
	return s.writeConfig("nonMasqueradeCIDRs: [10.0.0.0/8, \"fd00::/8\"]\nsourceCIDRs: " + sources + "\n")
}

// translated waits until new flows are translated.
func (s *sourced) translated() {
	s.t.Helper()
	for _, p := range s.Plans() {
		fromNode := assert.Must(s.Server.Capture("eth0", func(q nstest.Packet) bool { return !q.Outgoing && q.Proto == unix.IPPROTO_UDP && q.Src == p.Node }))(s.t)
		// The first datagram can be lost: the addresses of the pod's link may be tentative.
		until(s.t, fmt.Sprintf("new flows to %s are translated", p.Server), func() bool {
			c := assert.Must(s.pod.Dial(soon(s.t), "udp", netip.AddrPort{}, at(p.Server, 9)))(s.t)
			defer func() { _ = c.Close() }()
			assert.Must(c.Write([]byte("begins")))(s.t)
			return len(packets(s.t, fromNode)) > 0
		})
		assert.NoError(s.t, fromNode.Close())
	}
}

// both begins a flow to the server of each family, and one to each direct address.
func (s *sourced) both() (masqueraded, direct []*conversation) {
	s.t.Helper()
	for i, p := range s.Plans() {
		masqueraded = append(masqueraded, s.converse(s.pod.NS, "udp", p.Server))
		direct = append(direct, s.converse(s.pod.NS, "udp", s.direct[i]))
	}
	return masqueraded, direct
}

// wantOwn checks that the server sees the pod's own address.
func (s *sourced) wantOwn(p *pod, flows ...*conversation) {
	s.t.Helper()
	for _, c := range flows {
		if c.as.Addr() != p.addr(c.as.Addr()) {
			s.t.Fatalf("%v, not as itself, so the test proves nothing", c)
		}
	}
}

func (s *sourced) wantNode(when string, flows []*conversation) {
	s.t.Helper()
	for i, c := range flows {
		c.wantNew(when, s.Plans()[i].Node)
	}
}

func wantAllSame(when string, flows ...*conversation) {
	for _, c := range flows {
		c.l.t.Helper()
		c.wantSame(when)
	}
}

// TestUntranslatedSourceFlows: flows of a pod of another plugin that began while the rules were
// missing are translated after the repair.
func TestUntranslatedSourceFlows(t *testing.T) {
	s := newSourced(t)
	args := []string{"--config", s.config(podSources)}
	d := s.daemon(args...)
	s.translated()
	before, direct := s.both()
	for i, c := range before {
		if c.as.Addr() != s.Plans()[i].Node {
			t.Fatalf("%v, not as the node", c)
		}
	}

	assert.NoError(t, d.Suspend())
	s.nft("delete table inet masq")
	gap, directGap := s.both()
	s.wantOwn(s.pod, gap...)
	assert.NoError(t, d.Resume())
	d.counts(gapTotal, fmt.Sprint(len(gap)))
	s.wantNode("after the repair", gap)
	wantAllSame("after the repair", append(append(before, direct...), directGap...)...)
	d.end()

	// The control: restored rules alone do not translate the flow. A masqd that starts does.
	rules := filepath.Join(s.dir, "rules")
	assert.NoError(t, os.WriteFile(rules, []byte(s.nodeRun("nft", "-s", "list", "table", "inet", "masq")), 0o600))
	s.nft("delete table inet masq")
	gap, directGap = s.both()
	s.wantOwn(s.pod, gap...)
	s.nodeRun("nft", "-f", rules)
	if from := s.udpSource(s.pod, "after the control"); from != s.V4.Node {
		t.Fatalf("the rules are not restored: the server sees %s", from)
	}
	wantAllSame("without masqd", gap...)
	d = s.daemon(args...)
	d.counts(gapTotal, fmt.Sprint(len(gap)))
	s.wantNode("masqd has begun", gap)
	wantAllSame("masqd has begun", append(append(before, direct...), directGap...)...)
}

// TestFlowsOfNewSources: flows that began before sourceCIDRs contained their pods are
// translated afterwards. Flows of other pods continue.
func TestFlowsOfNewSources(t *testing.T) {
	s := newSourced(t)
	other := s.wired("other", "10.89.0.0/16")
	assert.NoError(t, errors.Join(
		s.Router.Route(netip.MustParsePrefix("10.89.0.0/16"), s.V4.Node),
		s.Server.Route(netip.MustParsePrefix("10.89.0.0/16"), s.V4.ServerNet.Addr().Next())))
	d := s.daemon("--config", s.config("[]"))
	named, direct := s.both()
	s.wantOwn(s.pod, named...)
	unnamed := s.converse(other.NS, "udp", s.V4.Server)
	s.wantOwn(other, unnamed)
	d.counts(gapTotal, "0")
	wantAllSame("no source is named", named...)

	s.config(podSources)
	d.counts(gapTotal, fmt.Sprint(len(named)))
	s.wantNode("named", named)
	wantAllSame("after the change", append(direct, unnamed)...)
	// One more source does not interrupt translated flows.
	begun, _ := s.both()
	s.config("[10.88.0.0/16, \"fd00:88::/64\", 10.89.0.0/16]")
	d.counts(gapTotal, fmt.Sprint(len(named)+1))
	wantAllSame("another source is named", append(begun, direct...)...)
	unnamed.wantNew("named", s.V4.Node)
}

// TestFaultyStartKeepsPolicy: a masqd that starts with a faulty file keeps the policy and
// the sources of its predecessor.
func TestFaultyStartKeepsPolicy(t *testing.T) {
	s := newSourced(t)
	file := s.config(podSources)
	d := s.daemon("--config", file)
	s.translated()
	d.end()
	s.writeConfig("nonMasqueradeCIDRs: [10.0.0.1/8]\nsourceCIDRs: []\n")
	for _, known := range []bool{true, false} {
		args := []string{"--config", file}
		if !known { // control
			args = append(args, "--state-dir", filepath.Join(s.dir, "elsewhere"))
		}
		d := s.faultyDaemon(args...)
		if v := d.metric("masq_configuration_valid"); v != "0" {
			t.Errorf("masq_configuration_valid is %s with a faulty configuration", v)
		}
		s.nft("add table inet masq; delete table inet masq")
		if known {
			s.translated()
			masqueraded, direct := s.both()
			for i, c := range masqueraded {
				if c.as.Addr() != s.Plans()[i].Node {
					t.Errorf("%v, not as the node", c)
				}
			}
			s.wantOwn(s.pod, direct...)
		} else {
			d.syncs()
			masqueraded, _ := s.both()
			s.wantOwn(s.pod, masqueraded...)
		}
		d.end()
	}
}

// faultyDaemon starts a masqd with a faulty configuration, and waits until it has synced and
// reports the fault.
func (w *world) faultyDaemon(args ...string) *daemon {
	w.t.Helper()
	d := w.launch(w.served(args...)...)
	until(w.t, "masqd has synced and reports the fault", func() bool {
		code, text := d.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "10.0.0.0/8") && d.metric("masq_last_sync_timestamp_seconds") != ""
	})
	return d
}
