package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestMSSClamps: the MSS depends on the destination, in both directions, both families and
// both modes. The longest prefix decides, and mssClamp applies too.
func TestMSSClamps(t *testing.T) {
	const server4, server6 = "198.51.100.0/24", "2001:db8:2::/64"
	for _, c := range []struct {
		name   string
		clamps keys
		clamp  any // nil is the default
		mss    []uint16
	}{
		{"both families", keys{server4: 1000, server6: 1100}, nil, []uint16{1000, 1100}},
		{"mssClamp off", keys{server4: 1000, server6: 1100}, "off", []uint16{1000, 1100}},
		{"longest prefix", keys{"0.0.0.0/0": 500, server4: 1000, "198.51.100.128/25": 600, "::/0": 500, server6: 1100, "2001:db8:2:0:8000::/65": 600}, "off", []uint16{1000, 1100}},
		{"no entry", keys{"203.0.113.0/24": 500, "2001:db8:3::/64": 500}, nil, []uint16{1460, 1440}},
		{"smaller mssClamp", keys{server4: 1000, server6: 1100}, 900, []uint16{900, 900}},
		{"never raised", keys{"0.0.0.0/0": 9000, "::/0": 9000}, "off", []uint16{1460, 1440}},
	} {
		for _, chained := range []bool{false, true} {
			if chained && c.name != "both families" {
				continue
			}
			t.Run(fmt.Sprintf("%s, chained %t", c.name, chained), func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				conf := keys{"mssClamps": c.clamps, "mssClamp": c.clamp}
				plugins := []keys{w.masq().With(conf), portmap()}
				if chained {
					plugins = []keys{w.ptp(), w.behind().With(conf), portmap()}
				}
				p := w.pod("a")
				p.runtime.CapabilityArgs = published
				list := w.conflist("1.0.0", plugins...)
				p.attach(list)
				for i, plan := range w.Plans() {
					w.toContainer(p, plan, c.mss[i], false)
				}
				if err := p.tryCheck(list); err != nil {
					t.Error(describe(err))
				}
			})
		}
	}
}

// ptp returns the plugin that makes a link of both families, without masquerading.
func (w *world) ptp() keys {
	ipam := w.masq()["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}}})
	return keys{"type": "ptp", "ipMasq": false, "ipam": ipam}
}

// synMSS returns the MSS with which the container's SYN reaches the server.
func (w *world) synMSS(p *pod, plan nstest.Plan) uint16 {
	w.t.Helper()
	srv := assert.Must(w.Server.ServeTCP(at(plan.Server, 0)))(w.t).Addr()
	c := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return syn(nstest.SYN, plan.Node)(q) && q.DstPort == srv.Port() }))(w.t)
	defer func() { _ = c.Close() }()
	if _, err := p.Download(soon(w.t), srv, 1); err != nil {
		w.t.Fatal(err)
	}
	return packets(w.t, c)[0].MSS
}

// TestMSSClampsOfNetworks: each network has its own mssClamps, and a network without them has
// none.
func TestMSSClampsOfNetworks(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	on := func(name, subnet string, clamps any) *pod {
		return w.attach(name, w.namedConflist(name, "1.0.0", w.masqOn(subnet).With(keys{"mssClamps": clamps})))
	}
	a := on("a", "10.88.0.0/16", keys{"198.51.100.0/24": 700})
	b := on("b", "10.89.0.0/16", keys{"198.51.100.0/24": 800, "0.0.0.0/0": 600})
	c := on("c", "10.90.0.0/16", nil)
	for p, want := range map[*pod]uint16{a: 700, b: 800, c: 1460} {
		if got := w.synMSS(p, w.V4); got != want {
			t.Errorf("%s: MSS %d, want %d", p.runtime.ContainerID, got, want)
		}
	}
	a.detach()
	b.detach()
	if listing := w.nodeRun("nft", "list", "table", "inet", "masq"); strings.Contains(listing, "mss") || strings.Contains(listing, "attached") {
		t.Errorf("the clamps of the deleted networks are left:\n%s", listing)
	}
}

// TestMSSClampsAreLive: masqd applies mssClamps of the node's policy to attachments and to
// sourceCIDRs. A change of an MSS changes no rule.
func TestMSSClampsAreLive(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	const sources = "sourceCIDRs: [10.89.0.0/16]\n"
	file := w.writeConfig(sources + "mssClamps: {198.51.100.0/24: 700, 0.0.0.0/0: 1000, 2001:db8:2::/64: 1300}\n")
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	ipam := w.masqOn("10.89.0.0/16")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
	theirs := w.attach("theirs", w.namedConflist("theirs", "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}))
	d := w.daemon("--config", file)
	until(t, "the MSS is 700", func() bool { return w.synMSS(a, w.V4) == 700 && w.synMSS(theirs, w.V4) == 700 })
	if got := w.synMSS(a, w.V6); got != 1300 {
		t.Errorf("MSS %d over IPv6", got)
	}
	b := w.attach("b", list)
	if got := w.synMSS(b, w.V4); got != 700 {
		t.Errorf("MSS %d of a later attachment", got)
	}
	rules := func() string { return w.nodeRun("nft", "-a", "list", "chain", "inet", "masq", "clamp") }
	before := rules()
	w.writeConfig(sources + "mssClamps: {198.51.100.0/24: 800}\n")
	until(t, "the MSS is 800", func() bool { return w.synMSS(a, w.V4) == 800 && w.synMSS(theirs, w.V4) == 800 })
	if after := rules(); after != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
	w.isInOrder(list, a, b)
	w.nft("flush map inet masq %s", w.mssMap(a))
	until(t, "masqd restores the map", func() bool { return w.synMSS(a, w.V4) == 800 })
	w.writeConfig(sources)
	until(t, "the MSS is the kernel's", func() bool { return w.synMSS(a, w.V4) == 1460 && w.synMSS(theirs, w.V4) == 1460 })
	w.isInOrder(list, a, b)
	d.end()
}

// mssMap returns the name of the map of an attachment's policy.
func (w *world) mssMap(p *pod) string { return "mss4-" + p.policyOf() }

// isInOrder waits until CHECK and inspect drift find no difference: after the transaction that
// changes the rules, masqd may still move addresses between sets.
func (w *world) isInOrder(list *libcni.NetworkConfigList, all ...*pod) {
	w.t.Helper()
	var fault string
	defer func() {
		if fault != "" {
			w.t.Log(fault)
		}
	}()
	until(w.t, "CHECK and inspect drift find no difference", func() bool {
		fault = ""
		for _, p := range all {
			if err := p.tryCheck(list); err != nil {
				fault += describe(err) + "\n"
			}
		}
		if out, err := w.command(w.Node, "inspect", "drift").CombinedOutput(); err != nil {
			fault += fmt.Sprintf("drift: %v\n%s", err, out)
		}
		return fault == ""
	})
}

// TestClampVerb: a local MSS clamp applies to all networks, at once, with and without masqd, to
// later attachments too, and until it is deleted.
func TestClampVerb(t *testing.T) {
	for _, masqd := range []bool{false, true} {
		t.Run(fmt.Sprintf("masqd %t", masqd), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			list := w.conflist("1.0.0", w.masq())
			a := w.attach("a", list)
			own := w.attach("own", w.namedConflist("own", "1.0.0", w.masqOn("10.89.0.0/16").With(keys{"mssClamps": keys{"198.51.100.0/24": 900, "0.0.0.0/0": 600}})))
			file := w.writeConfig("mssClamp: pmtu\n")
			var d *daemon
			if masqd {
				d = w.daemon("--config", file)
			}
			clamp := func(args ...string) string {
				t.Helper()
				out, err := w.command(w.Node, append([]string{"clamp"}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("clamp %s: %v\n%s", strings.Join(args, " "), err, out)
				}
				return string(out)
			}
			wants := func(p *pod, plan nstest.Plan, want uint16) {
				t.Helper()
				if got := w.synMSS(p, plan); got != want {
					t.Errorf("%s to %s: MSS %d, want %d", p.runtime.ContainerID, plan.Server, got, want)
				}
			}
			wants(a, w.V4, 1460) // the control
			clamp("add", "198.51.100.0/24", "700")
			clamp("add", "2001:db8:2::/64", "1250")
			wants(a, w.V4, 700)
			wants(a, w.V6, 1250)
			wants(own, w.V4, 700)
			clamp("add", "198.51.100.0/24", "950") // the network's own is smaller
			wants(a, w.V4, 950)
			wants(own, w.V4, 900)
			b := w.attach("b", list)
			wants(b, w.V4, 950)
			w.isInOrder(list, a, b)
			if got := clamp("list"); !strings.Contains(got, "198.51.100.0/24") || !strings.Contains(got, "950") {
				t.Errorf("clamp list shows\n%s", got)
			}
			if masqd {
				// An invalid configuration does not keep masqd from applying a local clamp.
				w.writeConfig("mssClamp: 1\n")
				until(t, "the configuration is invalid", func() bool { return d.metric("masq_configuration_valid") == "0" })
				clamp("add", "198.51.100.0/24", "850")
				wants(a, w.V4, 850)
			}
			b.detach()
			clamp("delete", "198.51.100.0/24")
			wants(a, w.V4, 1460)
			wants(own, w.V4, 900)
			clamp("delete", "2001:db8:2::/64")
			wants(a, w.V6, 1440)
			w.isInOrder(list, a)
			if out, err := w.command(w.Node, "clamp", "delete", "198.51.100.0/24").CombinedOutput(); err == nil || !strings.Contains(string(out), "has no local MSS clamp") {
				t.Errorf("%v\n%s", err, out)
			}
			if left, _ := filepath.Glob(filepath.Join(w.dir, "state", "mss-clamps-*")); len(left) > 0 {
				t.Errorf("%s is left", left)
			}
		})
	}
}

// beyond adds a server two routers away, and returns the plans with that server. The link
// between the routers is narrower than the MTU of the hosts.
//
//	node -- router --[mtu]-- far --[1500]-- origin
//
// Both routers drop the ICMP errors of path MTU discovery.
func (w *world) beyond(mtu int) (origin *nstest.NS, far *nstest.NS, plans []nstest.Plan) {
	t := w.t
	t.Helper()
	far, origin = assert.Must(w.lab.Namespace("far"))(t), assert.Must(w.lab.Namespace("origin"))(t)
	prefixes := func(all ...string) (out []netip.Prefix) {
		for _, s := range all {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	end := func(n *nstest.NS, name string, addresses ...string) nstest.End {
		return nstest.End{NS: n, Name: name, Addresses: prefixes(addresses...)}
	}
	assert.NoError(t, nstest.Connect(end(w.Router, "narrow", "203.0.113.1/25", "2001:db8:3::1/64"), end(far, "narrow", "203.0.113.2/25", "2001:db8:3::2/64"), mtu))
	assert.NoError(t, nstest.Connect(end(far, "toorigin", "203.0.113.129/25", "2001:db8:4::1/64"), end(origin, "eth0", "203.0.113.130/25", "2001:db8:4::2/64"), 1500))
	assert.NoError(t, errors.Join(far.Forward(), far.DropPMTU()))
	for i, x := range prefixes("203.0.113.128/25", "2001:db8:4::/64") {
		plan := w.Plans()[i]
		gateway := prefixes("203.0.113.2/25", "2001:db8:3::2/64")[i].Addr()
		everywhere := netip.PrefixFrom(map[bool]netip.Addr{true: netip.IPv4Unspecified(), false: netip.IPv6Unspecified()}[plan.Server.Is4()], 0)
		plan.Server = x.Addr().Next().Next()
		assert.NoError(t, errors.Join(
			w.Router.Route(x, gateway),
			far.Route(everywhere, prefixes("203.0.113.1/25", "2001:db8:3::1/64")[i].Addr()),
			origin.Route(everywhere, x.Addr().Next()),
		))
		plans = append(plans, plan)
	}
	return origin, far, plans
}

// TestNarrowLinkBeyondTheNode: a link two routers away is narrow, and ICMP is filtered. The
// node's route does not show it, so mssClamp has no effect. A clamp for the destination has:
// one of the network, and a local one.
func TestNarrowLinkBeyondTheNode(t *testing.T) {
	w := newWorld(t, nstest.Uplink{DropPMTU: true})
	origin, far, plans := w.beyond(1280)
	list := w.conflist("1.0.0", w.masq())
	plain := w.attach("plain", list)
	clamped := w.attach("clamped", w.namedConflist("clamped", "1.0.0", w.secondNetwork().With(keys{
		"mssClamps": keys{"203.0.113.128/25": 1240, "2001:db8:4::/64": 1220},
	})))
	for _, plan := range plans {
		srv := assert.Must(origin.ServeTCP(at(plan.Server, 0)))(t).Addr()
		w.freezes(plain, srv, far)
		for _, transfer := range []func(context.Context, netip.AddrPort, int64) (nstest.Transfer, error){clamped.Download, clamped.Upload} {
			if got, err := transfer(soon(t), srv, narrowSize); err != nil || got.Bytes != narrowSize {
				t.Errorf("transfer with %s: %+v, %v", srv, got, err)
			}
		}
	}
	for i, prefix := range []string{"203.0.113.128/25", "2001:db8:4::/64"} {
		out, err := w.command(w.Node, "clamp", "add", prefix, fmt.Sprint(1240-20*i)).CombinedOutput()
		if err != nil {
			t.Fatalf("clamp add: %v\n%s", err, out)
		}
		srv := assert.Must(origin.ServeTCP(at(plans[i].Server, 0)))(t).Addr()
		if got, err := plain.Download(soon(t), srv, narrowSize); err != nil || got.Bytes != narrowSize {
			t.Errorf("download from %s with a local clamp: %+v, %v", srv, got, err)
		}
	}
}

// secondNetwork is masq with other subnets.
func (w *world) secondNetwork() keys {
	ranges := []any{[]any{keys{"subnet": "10.89.0.0/16"}}, []any{keys{"subnet": "fd00:89::/64"}}}
	return w.masq().With(keys{"ipam": w.masq()["ipam"].(keys).With(keys{"ranges": ranges})})
}

// freezes fails if a byte of a download arrives. It waits until the router has refused several
// packets of the server.
func (w *world) freezes(p *pod, srv netip.AddrPort, router *nstest.NS) {
	w.t.Helper()
	const refusals = 12 // more than the first flight
	before := assert.Must(router.PMTUDropped())(w.t)
	ctx, cancel := context.WithCancel(soon(w.t))
	done := make(chan int64, 1)
	go func() {
		got, _ := p.Download(ctx, srv, narrowSize)
		done <- got.Bytes
	}()
	until(w.t, "the router refuses packets of the server", func() bool {
		return assert.Must(router.PMTUDropped())(w.t) >= before+refusals
	})
	cancel()
	if n := <-done; n != 0 {
		w.t.Errorf("%d bytes of the download from %s arrived", n, srv)
	}
}

// TestMTUProbing: with mtuProbing an upload passes a narrow link without ICMP: the container's
// TCP tries smaller segments. Without it the segments keep their size.
func TestMTUProbing(t *testing.T) {
	w := newWorld(t, nstest.Uplink{DropPMTU: true})
	origin, _, plans := w.beyond(1280)
	with := w.conflist("1.0.0", w.masq().With(keys{"mtuProbing": true}))
	probing := w.attach("probing", with)
	plain := w.attach("plain", w.namedConflist("plain", "1.0.0", w.secondNetwork()))
	for p, want := range map[*pod]string{probing: "1", plain: "0"} {
		p.run("sysctl", "-qw", "net.ipv4.tcp_retries1=1") // the kernel suspects a black hole earlier
		if got := strings.TrimSpace(p.run("cat", "/proc/sys/net/ipv4/tcp_mtu_probing")); got != want {
			t.Errorf("%s: tcp_mtu_probing is %s", p.runtime.ContainerID, got)
		}
	}
	for _, plan := range plans {
		srv := assert.Must(origin.ServeTCP(at(plan.Server, 0)))(t).Addr()
		if got, err := probing.Upload(soon(t), srv, narrowSize); err != nil || got.Bytes != narrowSize {
			t.Errorf("upload to %s: %+v, %v", srv, got, err)
		}
		w.uploadFreezes(plain, srv, origin)
	}
	if err := probing.tryCheck(with); err != nil {
		t.Error(describe(err))
	}
	probing.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/tcp_mtu_probing")
	if err := probing.tryCheck(with); err == nil || !strings.Contains(describe(err), "net.ipv4.tcp_mtu_probing is 0 instead of 1") {
		t.Errorf("CHECK: %v", err)
	}
}

// uploadFreezes fails if a segment with data arrives after the command. It waits until the
// container has sent its first full segment more often than a kernel that probes would.
func (w *world) uploadFreezes(p *pod, srv netip.AddrPort, origin *nstest.NS) {
	w.t.Helper()
	const transmissions = 5 // net.ipv4.tcp_retries1 is 1
	sent := assert.Must(p.Capture("eth0", func(q nstest.Packet) bool {
		return q.Outgoing && q.Destination() == srv && len(q.Payload) > len("PUT\n")
	}))(w.t)
	arrived := assert.Must(origin.Capture("eth0", func(q nstest.Packet) bool {
		return !q.Outgoing && q.Destination() == srv && len(q.Payload) > len("PUT\n")
	}))(w.t)
	ctx, cancel := context.WithCancel(soon(w.t))
	done := make(chan error, 1)
	go func() {
		_, err := p.Upload(ctx, srv, narrowSize)
		done <- err
	}()
	repeated := func(all []nstest.Packet) bool {
		if len(all) == 0 {
			return false
		}
		first := slices.MinFunc(all, func(a, b nstest.Packet) int { return int(int32(a.Seq - b.Seq)) })
		n := 0
		for _, q := range all {
			if q.Seq == first.Seq {
				n++
			}
		}
		return n >= transmissions
	}
	_, err := sent.Wait(soon(w.t), repeated)
	cancel()
	if failed := <-done; err != nil || failed == nil {
		w.t.Errorf("upload to %s: %v; the capture: %v", srv, failed, err)
	}
	if n := len(packets(w.t, arrived)); n != 0 {
		w.t.Errorf("%d segments of the upload to %s arrived", n, srv)
	}
}

// TestMTUProbingChained: chained mode refuses the key, and names the plugin that has the
// setting.
func TestMTUProbingChained(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	err := w.pod("a").tryAdd(w.conflist("1.0.0", w.ptp(), w.behind().With(keys{"mtuProbing": true})))
	if err == nil || !strings.Contains(describe(err), "mtuProbing: true needs ipam") || !strings.Contains(describe(err), "tuning") {
		t.Errorf("ADD: %v", err)
	}
}
