package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestMasqueradeOfAnotherTable has another table masquerade everything that leaves the node,
// at the usual hook and priority. Packets of an attachment with a policy leave as the policy
// says; direct flows are left to the other table.
func TestMasqueradeOfAnotherTable(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	second := map[netip.Addr]netip.Addr{
		w.V4.Node: netip.MustParseAddr("192.0.2.9"), w.V6.Node: netip.MustParseAddr("2001:db8:1::9"),
	}
	for _, plan := range w.Plans() {
		// On the loopback, so that the kernel does not choose the address for a masquerade rule.
		a := netip.PrefixFrom(second[plan.Node], second[plan.Node].BitLen())
		assert.NoError(t, w.Node.AddAddress("lo", a))
		assert.NoError(t, w.Router.Route(a, plan.Node))
	}
	snat := keys{"snatAddresses": []string{second[w.V4.Node].String(), second[w.V6.Node].String()}}
	direct := keys{"nonMasqueradeCIDRs": []string{w.V4.ServerNet.String(), w.V6.ServerNet.String()}}
	for _, foreign := range []bool{false, true} {
		if foreign {
			w.otherRule("masquerade")
		}
		for _, network := range []struct {
			name string
			keys keys
			want func(p *pod, plan nstest.Plan) netip.Addr
		}{
			{"a policy", snat, func(_ *pod, plan nstest.Plan) netip.Addr { return second[plan.Node] }},
			{"a direct destination", snat.With(direct), nil},
			{"no policy", keys{"ipMasq": false}, nil},
		} {
			t.Run(network.name+map[bool]string{false: " alone", true: " and another"}[foreign], func(t *testing.T) {
				w := w.in(t)
				p := w.attach("a", w.conflist("1.1.0", w.masq().With(network.keys)))
				for _, plan := range w.Plans() {
					want := p.addr(plan.Server)
					switch {
					case network.want != nil:
						want = network.want(p, plan)
					case foreign:
						want = plan.Node
					}
					w.seenAs(p, plan, want)
				}
			})
		}
	}
}

// neighbour is a plugin of containernetworking in the conflist.
type neighbour struct {
	name  string
	conf  func(w *world) keys
	parts []part
	// strict has the node forward only packets that a rule accepts, as with Docker, and drop
	// others silently. Otherwise a failure is visible at once.
	strict bool
}

// part checks the effect of a plugin for a container.
type part func(context.Context, *pod, nstest.Plan) error

// The rate that bandwidth allows, the size of a transfer larger than its burst, and the
// minimum duration of that transfer.
const (
	slowBits   = 8_000_000 // per second
	slowBurst  = 800_000   // bits
	slowSize   = 400_000   // bytes
	slowAtBest = 250 * time.Millisecond
)

// tunedMAC is the container's MAC address set by the plugin tuning.
const tunedMAC = "c2:11:22:33:44:55"

func theNeighbours() []neighbour {
	return []neighbour{
		{
			"portmap",
			func(*world) keys { return portmap().With(keys{"backend": "iptables"}) },
			[]part{portMapped, hairpinned},
			false,
		},
		{
			"firewall",
			func(*world) keys { return keys{"type": "firewall", "backend": "iptables"} },
			[]part{forwarded},
			true,
		},
		{
			"bandwidth",
			func(*world) keys {
				return keys{
					"type": "bandwidth", "ingressRate": slowBits, "ingressBurst": slowBurst,
					"egressRate": slowBits, "egressBurst": slowBurst,
				}
			},
			[]part{slowed},
			false,
		},
		{
			"tuning",
			func(w *world) keys {
				return keys{
					"type": "tuning", "mac": tunedMAC, "sysctl": keys{"net.core.somaxconn": "321"},
					"dataDir": filepath.Join(w.dir, "tuning"),
				}
			},
			[]part{tuned},
			false,
		},
	}
}

// TestNeighbours puts masq into one conflist with the plugins that clusters use: as the
// first plugin, making the link, and as the last, after ptp. Every plugin has its effect
// and breaks no other. Without a plugin, its effect is missing.
func TestNeighbours(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	all := theNeighbours()
	for _, order := range []struct {
		name string
		list func(w *world, others []keys) []keys
	}{
		{"in front", func(w *world, others []keys) []keys { return append([]keys{w.masq()}, others...) }},
		{"behind", func(w *world, others []keys) []keys {
			ptp := w.linkByPTP()
			ptp["ipam"].(keys)["routes"] = []any{keys{"dst": "0.0.0.0/0"}}
			return append(append([]keys{ptp}, others...), w.behind())
		}},
	} {
		t.Run(order.name, func(t *testing.T) {
			w := w.in(t)
			var confs []keys
			for _, n := range all {
				confs = append(confs, n.conf(w))
			}
			list := w.conflist("1.0.0", order.list(w, confs)...)
			// The chains that portmap and firewall share among containers remain.
			w.attachWith("first", list, published).detach()
			before := w.traces()
			p := w.attachWith("a", list, published)
			assert.NoError(t, p.tryCheck(list))
			for _, plan := range w.Plans()[:len(p.result.IPs)] {
				w.seenAs(p, plan, plan.Node)
				for _, n := range all {
					w.forwardAll(!n.strict)
					for _, done := range n.parts {
						if err := done(soon(t), p, plan); err != nil {
							t.Errorf("%s to %s: %v", n.name, plan.Server, err)
						}
					}
					w.forwardAll(true)
				}
			}
			p.detach()
			unchanged(t, "after DEL", uncounted(w.traces()), uncounted(before))
		})
	}
	for i, without := range all {
		t.Run("without "+without.name, func(t *testing.T) {
			w := w.in(t)
			list := []keys{w.masq()}
			for j, n := range all {
				if j != i {
					list = append(list, n.conf(w))
				}
			}
			p := w.attachWith("a", w.conflist("1.0.0", list...), published)
			for _, plan := range w.Plans() {
				w.seenAs(p, plan, plan.Node)
				w.forwardAll(!without.strict)
				for _, done := range without.parts {
					ctx := soon(t)
					if without.strict {
						ctx = briefly(t)
					}
					if err := done(ctx, p, plan); err == nil || !without.strict && ctx.Err() != nil {
						t.Errorf("to %s without %s: %v", plan.Server, without.name, err)
					}
				}
				w.forwardAll(true)
			}
		})
	}
	t.Run("without a policy", func(t *testing.T) {
		w := w.in(t)
		list := []keys{w.masq().With(keys{"ipMasq": false})}
		for _, n := range all {
			list = append(list, n.conf(w))
		}
		p := w.attachWith("a", w.conflist("1.0.0", list...), published)
		for _, plan := range w.Plans() {
			w.seenAs(p, plan, p.addr(plan.Server))
		}
	})
}

// forwardAll has the node forward packets without a matching rule, or drop them.
func (w *world) forwardAll(all bool) {
	w.t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		w.nodeRun(program, "-w", "-P", "FORWARD", map[bool]string{true: "ACCEPT", false: "DROP"}[all])
	}
}

// portMapped checks that the container's server is reached from outside by the node's port,
// and sees the client's address.
func portMapped(ctx context.Context, p *pod, plan nstest.Plan) error {
	s, err := p.ServeTCP(at(p.addr(plan.Server), containerPort))
	if err != nil {
		return err
	}
	defer s.Close()
	seen, err := p.w.Server.Who(ctx, netip.AddrPort{}, at(plan.Node, nodePort))
	if err == nil && seen.Addr() != plan.Server {
		err = fmt.Errorf("the container sees the client as %s", seen)
	}
	return err
}

// hairpinned checks that the container reaches its own server by the node's port.
func hairpinned(ctx context.Context, p *pod, plan nstest.Plan) error {
	s, err := p.ServeTCP(at(p.addr(plan.Server), containerPort))
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = p.Who(ctx, netip.AddrPort{}, at(plan.Node, nodePort))
	return err
}

// forwarded checks that the container's packets are accepted.
func forwarded(ctx context.Context, p *pod, plan nstest.Plan) error {
	tcp, _ := p.w.servers(plan.Server)
	_, err := p.Who(ctx, netip.AddrPort{}, tcp)
	return err
}

// slowed checks that both directions are limited to their rate.
func slowed(ctx context.Context, p *pod, plan nstest.Plan) error {
	tcp, _ := p.w.servers(plan.Server)
	for _, transfer := range []func(context.Context, netip.AddrPort, int64) (nstest.Transfer, error){p.Download, p.Upload} {
		got, err := transfer(ctx, tcp, slowSize)
		if err != nil {
			return err
		}
		if got.Duration < slowAtBest {
			return fmt.Errorf("the transfer took only %s", got.Duration)
		}
	}
	return nil
}

// tuned checks that the container has its configured MAC address and setting, and is still
// reachable.
func tuned(ctx context.Context, p *pod, plan nstest.Plan) error {
	err := p.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err == nil && link.HardwareAddr.String() != tunedMAC {
			err = fmt.Errorf("its address is %s", link.HardwareAddr)
		}
		return err
	})
	if err != nil {
		return err
	}
	if v, err := p.ReadSysctl("net.core.somaxconn"); err != nil || v != "321" {
		return errors.Join(err, errors.New("net.core.somaxconn is "+v))
	}
	if _, err := p.w.Node.Ping(ctx, p.addr(plan.Server), nstest.PingOptions{}); err != nil {
		return err
	}
	_, err = p.Ping(ctx, plan.Server, nstest.PingOptions{})
	return err
}
