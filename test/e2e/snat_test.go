package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// egressAddresses are the addresses that newManyAddresses adds to the node, by family: on
// the uplink, and on the loopback for routed addresses.
var egressAddresses = [][]netip.Addr{
	{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("198.18.0.13")},
	{netip.MustParseAddr("2001:db8:1::11"), netip.MustParseAddr("2001:db8:5::12")},
}

// newManyAddresses makes a world whose node has several addresses.
func newManyAddresses(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	for i, p := range w.Plans() {
		for _, a := range egressAddresses[i] {
			host := netip.PrefixFrom(a, a.BitLen())
			if p.UplinkNet.Contains(a) {
				// The kernel does not choose this address for the node: it is deprecated in IPv6.
				w.nodeRun("ip", "address", "add", host.String(), "dev", "uplink", "preferred_lft", "0")
				continue
			}
			addAddress(t, w.Node, "lo", host)
			assert.NoError(t, errors.Join(w.Router.Route(host, p.Node), w.Server.Route(host, p.ServerNet.Addr().Next())))
		}
	}
	return w
}

// chances is the number of connections after which each of three addresses has been used,
// with a probability of failure below 1e-10: 3 * (2/3)^64.
const chances = 64

// TestSNATAddresses: each connection leaves with one of the addresses, and all of them are
// used.
func TestSNATAddresses(t *testing.T) {
	w := newManyAddresses(t)
	v4, v6 := egressAddresses[0], egressAddresses[1]
	for i, c := range []struct {
		name string
		conf keys
		want [][]netip.Addr
	}{
		{"none", nil, [][]netip.Addr{{w.V4.Node}, {w.V6.Node}}},
		{"all", keys{"snatAddresses": slices.Concat(v4, v6)}, egressAddresses},
		{"one", keys{"snatAddresses": []netip.Addr{v4[1], v6[1]}}, [][]netip.Addr{v4[1:2], v6[1:2]}},
		{"of one family", keys{"snatAddresses": v4}, [][]netip.Addr{v4, {w.V6.Node}}},
		{"the node's usual one among them", keys{"snatAddresses": []netip.Addr{v4[0], w.V4.Node}}, [][]netip.Addr{{v4[0], w.V4.Node}, {w.V6.Node}}},
		{"unchanged ports", keys{"snatAddresses": slices.Concat(v4, v6), "randomFully": false}, egressAddresses},
		{"with ports", keys{"snatAddresses": slices.Concat(v4, v6), "toPorts": "20000-20999,30000-30999"}, egressAddresses},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			p := w.attach(fmt.Sprintf("c%d", i), w.conflist("1.1.0", w.masq().With(c.conf)))
			for j, plan := range w.Plans() {
				tcp, udp := w.seenBy(t, p, plan, chances)
				wantAddresses(t, "tcp", tcp, c.want[j])
				wantAddresses(t, "udp", udp, c.want[j])

				echoes := assert.Must(w.Server.Capture("eth0", isPing))(t)
				assert.Must(p.Ping(soon(t), plan.Server, nstest.PingOptions{}))(t)
				if got := packets(t, echoes); len(got) != 1 || !slices.Contains(c.want[j], got[0].Src) {
					t.Errorf("echo request: %v, want it from one of %v", got, c.want[j])
				}
			}
		})
	}
}

// seenBy returns the sources that the server sees of n connections and n datagrams.
func (w *world) seenBy(t testing.TB, p *pod, plan nstest.Plan, n int) (tcp, udp []netip.AddrPort) {
	t.Helper()
	stream := assert.Must(w.Server.ServeTCP(at(plan.Server, 0)))(t)
	datagrams := assert.Must(w.Server.ServeUDP(at(plan.Server, 0)))(t)
	for range n {
		seen, err := p.Who(soon(t), netip.AddrPort{}, stream.Addr())
		assert.NoError(t, errors.Join(err, p.EchoUDP(soon(t), netip.AddrPort{}, datagrams.Addr(), 10)))
		tcp = append(tcp, seen)
	}
	for _, d := range datagrams.Seen() {
		udp = append(udp, d.Source)
	}
	return tcp, udp
}

// wantAddresses checks that exactly these addresses were seen.
func wantAddresses(t testing.TB, what string, seen []netip.AddrPort, want []netip.Addr) {
	t.Helper()
	count := map[netip.Addr]int{}
	for _, s := range seen {
		count[s.Addr()]++
	}
	for _, a := range want {
		if count[a] == 0 {
			t.Errorf("%s: %s was never used: %v", what, a, count)
		}
	}
	if len(count) > len(want) {
		t.Errorf("%s: other addresses than %v were used: %v", what, want, count)
	}
}

// TestSNATAddressMissing: if the node has none of a family's addresses, ADD fails, names them
// and leaves no trace. If the node has one of them, the same ADD succeeds with a warning, and
// no flow leaves with the other.
func TestSNATAddressMissing(t *testing.T) {
	for _, missing := range [][]netip.Addr{
		{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("192.0.2.78")},
		{netip.MustParseAddr("2001:db8:1::77"), netip.MustParseAddr("2001:db8:1::78")},
	} {
		t.Run(missing[0].String(), func(t *testing.T) {
			w := newManyAddresses(t)
			usual := w.attach("usual", w.conflist("1.1.0", w.masq())) // the table exists already
			before := w.traces()
			there := egressAddresses[0]
			if missing[0].Is4() {
				there = egressAddresses[1]
			}
			list := w.conflist("1.1.0", w.masq().With(keys{"snatAddresses": slices.Concat(there, missing)}))
			p := w.pod("a")
			err := p.tryAdd(list)
			var known *types.Error
			if !errors.As(err, &known) || known.Code != types.ErrInvalidNetworkConfig {
				t.Fatalf("ADD: %v, want an error of code %d", err, types.ErrInvalidNetworkConfig)
			}
			text := describe(err)
			words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,\n", r) })
			for _, a := range missing {
				if !strings.Contains(text, a.String()) || !strings.Contains(text, "snatAddresses") {
					t.Errorf("the error does not name %s of snatAddresses: %s", a, text)
				}
			}
			for _, a := range there {
				if slices.Contains(words, a.String()) || slices.Contains(words, a.String()+":") {
					t.Errorf("the error names %s, which the node has: %s", a, text)
				}
			}
			if after := w.traces(); after != before {
				t.Errorf("after the failed ADD:\n%s\nbefore:\n%s", after, before)
			}
			if links := assert.Must(p.LinkNames())(t); !slices.Equal(links, []string{"lo"}) {
				t.Errorf("the container has %v", links)
			}

			addAddress(t, w.Node, "uplink", netip.PrefixFrom(missing[0], missing[0].BitLen()))
			p.attach(list)
			assert.NoError(t, p.tryCheck(list))
			plan := w.planOf(missing[0])
			tcp, udp := w.seenBy(t, p, plan, chances/4)
			wantAddresses(t, "tcp", tcp, missing[:1])
			wantAddresses(t, "udp", udp, missing[:1])
			// A second attachment of the network does not change the rules.
			rules := w.nodeRun("nft", "-s", "list", "chain", "inet", "masq", "policy-"+p.policyOf())
			w.attach("b", list)
			if after := w.nodeRun("nft", "-s", "list", "chain", "inet", "masq", "policy-"+p.policyOf()); after != rules {
				t.Errorf("the second ADD changed\n%s\nto\n%s", rules, after)
			}
			assert.Must(usual.Ping(soon(t), plan.Server, nstest.PingOptions{}))(t)
		})
	}
}

// TestPodAnnotationSNAT: a pod selects one of the addresses that its network allows.
func TestPodAnnotationSNAT(t *testing.T) {
	const annotation = "masq-cni.dev/snat-addresses"
	w := newManyAddresses(t)
	v4, v6 := egressAddresses[0], egressAddresses[1]
	conf := w.masq().With(keys{
		"snatAddresses": slices.Concat(v4[:2], v6), "capabilities": keys{podAnnotations: true},
	})
	list := w.conflist("1.1.0", conf)
	for _, c := range []struct {
		id   string
		args map[string]any
		want [][]netip.Addr
	}{
		{"without", nil, [][]netip.Addr{v4[:2], v6}},
		{"one", annotated(annotation, v4[1].String()), [][]netip.Addr{v4[1:2], v6}},
		{"both", annotated(annotation, v4[0].String()+", "+v6[1].String()), [][]netip.Addr{v4[:1], v6[1:]}},
		{"all", annotated(annotation, fmt.Sprintf("%s,%s,%s,%s", v4[0], v4[1], v6[0], v6[1])), [][]netip.Addr{v4[:2], v6}},
	} {
		p := w.attachWith(c.id, list, c.args)
		for i, plan := range w.Plans() {
			tcp, _ := w.seenBy(t, p, plan, chances)
			wantAddresses(t, c.id, tcp, c.want[i])
		}
	}

	// The node has this address, the network does not allow it.
	before := w.traces()
	p := w.pod("greedy")
	p.runtime.CapabilityArgs = annotated(annotation, v4[2].String())
	if err := p.tryAdd(list); err == nil || !strings.Contains(describe(err), v4[2].String()) || !strings.Contains(describe(err), annotation) {
		t.Errorf("an address that the network does not allow: %v", err)
	}
	if after := w.traces(); after != before {
		t.Errorf("after the failed ADD:\n%s\nbefore:\n%s", after, before)
	}
}
