package e2e

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// able returns a configuration that receives annotations of pods.
func able(conf keys) keys { return conf.With(keys{"capabilities": keys{podAnnotations: true}}) }

var optsOut = annotated(masq.EgressAnnotation, "direct")

// tenant returns a pod of Kubernetes that opts out of translation and is not attached yet.
func (w *world) tenant(id string) *pod {
	w.t.Helper()
	p := w.pod(id)
	p.runtime.CapabilityArgs = optsOut
	p.runtime.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", id}}
	return p
}

// leavesAs checks the source addresses that servers of both families see.
func (p *pod) leavesAs(t *testing.T, direct bool, egress []netip.Addr) {
	t.Helper()
	for i, plan := range p.w.Plans() {
		want := p.addr(plan.Server)
		if !direct {
			want = egress[i]
		}
		server := assert.Must(p.w.Server.ServeTCP(at(plan.Server, 0)))(t)
		seen, err := p.Who(soon(t), netip.AddrPort{}, server.Addr())
		assert.NoError(t, server.Close())
		if err != nil || seen.Addr() != want {
			t.Errorf("%s: seen %s, %v; want %s", p.runtime.ContainerID, seen, err, want)
		}
	}
}

// isRefused checks that ADD refuses a pod because of its annotation, that only a note of
// the refusal remains, and that inspect shows the note until the pod is admitted.
func (w *world) isRefused(t *testing.T, id string, list *libcni.NetworkConfigList, why string) {
	t.Helper()
	before := w.traces()
	p := w.tenant(id)
	err := p.tryAdd(list)
	var refused *types.Error
	if !errors.As(err, &refused) || refused.Code != types.ErrInvalidNetworkConfig || !strings.Contains(refused.Details, masq.EgressAnnotation+`: "direct" `) || !strings.Contains(refused.Details, why) {
		t.Fatalf("ADD: %s; want it refused, because %s", describe(errors.Join(err, errors.New(""))), why)
	}
	var left []string
	for line := range strings.Lines(w.traces()) {
		if !strings.Contains(line, "/refused/") {
			left = append(left, line)
		}
	}
	// The runtime removes what the earlier plugin of the chain has made.
	if after := strings.Join(left, ""); after != before && len(list.Plugins) == 1 {
		t.Errorf("before ADD was refused:\n%s\nafter:\n%s", before, after)
	}
	assert.NoError(t, p.tryDel(list))
	if n, _ := w.glance(); !noted(n, "shop/"+id, why) {
		t.Errorf("inspect does not show that %s was refused: %+v", id, n.Problems)
	}
	// Without the annotation the pod is admitted, and the note is removed.
	p.runtime.CapabilityArgs = nil
	p.attach(list)
	if n, _ := w.glance(); noted(n, "shop/"+id, "") {
		t.Errorf("inspect shows that %s was refused after it was admitted", id)
	}
	p.detach()
}

// noted reports whether inspect names a pod whose annotation has no effect, with a reason.
func noted(n report.Node, pod, why string) bool {
	for _, p := range n.Problems {
		if p.Kind == report.KindAnnotation && p.Object == pod && strings.Contains(p.Message, why) {
			return true
		}
	}
	return false
}

// TestAllowAnnotations has a tenant opt out. In a network with egress addresses, it
// leaves with its own address only if allowAnnotations lists the annotation. In a network
// without egress addresses it does unless the list leaves the annotation out.
func TestAllowAnnotations(t *testing.T) {
	w := newManyAddresses(t)
	w.knowPods()
	egress := []netip.Addr{egressAddresses[0][0], egressAddresses[1][0]}
	allow := func(list ...string) keys { return keys{"allowAnnotations": append([]string{}, list...)} }
	const byDefault, unlisted = "not allowed by default where the network has snatAddresses", "does not list this annotation"
	for mode, plugins := range map[string]func(conf keys) []keys{
		"main": func(conf keys) []keys { return []keys{able(w.masq().With(conf))} },
		"chained": func(conf keys) []keys {
			ipam := w.masq()["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}}})
			return []keys{{"type": "ptp", "ipam": ipam}, able(w.behind().With(conf))}
		},
	} {
		t.Run(mode, func(t *testing.T) {
			w := w.in(t)
			snat := keys{"snatAddresses": egress}
			for _, c := range []struct {
				name string
				conf keys
				why  string // empty if the pod may opt out
			}{
				{"snat", snat, byDefault},
				{"snat-allowed", snat.With(allow(masq.EgressAnnotation)), ""},
				{"snat-short", snat.With(allow("egress")), ""},
				{"snat-other", snat.With(allow(masq.SNATAnnotation)), unlisted},
				{"none", keys{"toPorts": "20000-29999"}, ""},
				{"none-forbidden", allow(), unlisted},
			} {
				list := w.conflist("1.1.0", plugins(c.conf)...)
				if c.why != "" {
					w.isRefused(t, c.name, list, c.why)
					continue
				}
				p := w.tenant(c.name)
				p.attach(list)
				p.leavesAs(t, true, nil)
				assert.NoError(t, p.tryCheck(list))
				p.detach()
			}
			// The control: a pod that does not opt out leaves with the egress address.
			plain := w.attach("plain", w.conflist("1.1.0", plugins(snat)...))
			plain.leavesAs(t, false, egress)
			plain.detach()
		})
	}
}

// TestNodeAllowsAnnotations tests allowAnnotations of the node's policy. A change affects
// an attached tenant as soon as masqd runs, and a new tenant also without masqd.
func TestNodeAllowsAnnotations(t *testing.T) {
	w := newManyAddresses(t)
	w.knowPods()
	egress := []netip.Addr{egressAddresses[0][0], egressAddresses[1][0]}
	node := []netip.Addr{w.V4.Node, w.V6.Node}
	snat := "snatAddresses: [" + egress[0].String() + ", " + egress[1].String() + "]\nnonMasqueradeCIDRs: []\n"
	const none = "nonMasqueradeCIDRs: []\n"
	list := w.conflist("1.1.0", able(w.masq()))
	own := w.namedConflist("own", "1.1.0", able(w.masqOn("10.88.128.0/17").With(keys{"allowAnnotations": []string{"egress"}})))
	file := w.writeConfig(none)
	d := w.daemon("--config", file)

	early := w.tenant("early")
	early.attach(list)
	early.leavesAs(t, true, nil)
	trusted := w.tenant("trusted")
	trusted.attach(own)

	server := assert.Must(w.Server.ServeTCP(at(w.V4.Server, 0)))(t)
	is := func(p *pod, want netip.Addr) bool {
		seen, err := p.Who(soon(t), netip.AddrPort{}, server.Addr())
		return err == nil && seen.Addr() == want
	}
	becomes := func(what, config string, direct bool, egress []netip.Addr) {
		t.Helper()
		w.writeConfig(config)
		want := early.addr(w.V4.Server)
		if !direct {
			want = egress[0]
		}
		until(t, what, func() bool { return is(early, want) })
		early.leavesAs(t, direct, egress)
		assert.NoError(t, early.tryCheck(list))
		n, _ := w.glance()
		if noted(n, "shop/early", "no effect") == direct {
			t.Errorf("%s: inspect: %+v", what, n.Problems)
		}
		if !is(trusted, trusted.addr(w.V4.Server)) {
			t.Errorf("%s: the list of a network does not override the node's", what)
		}
	}
	becomes("egress addresses forbid", snat, false, egress)
	w.isRefused(t, "late", list, "not allowed by default where the node's policy has snatAddresses")
	becomes("the list allows", snat+"allowAnnotations: [egress]\n", true, egress)
	becomes("the list forbids", none+"allowAnnotations: []\n", false, node)
	w.isRefused(t, "later", list, "allowAnnotations of the node's policy does not list this annotation")
	// Without masqd the policy still applies, and the next masqd keeps it.
	d.end()
	w.isRefused(t, "latest", list, "allowAnnotations of the node's policy does not list this annotation")
	early.leavesAs(t, false, node)
	d = w.daemon("--config", file)
	early.leavesAs(t, false, node)
	becomes("the default allows", none, true, node)
	// An ADD that makes the table again uses the node's present policy.
	w.writeConfig(none + "allowAnnotations: []\n")
	until(t, "the list forbids again", func() bool { return is(early, node[0]) })
	d.end()
	w.nft("delete table inet masq")
	w.attach("maker", list)
	early.leavesAs(t, false, node)
}

// TestNATLogForbidsOptingOut: on a node with a NAT log no tenant may opt out by default.
// The flows of tenants that may opt out are logged as direct.
func TestNATLogForbidsOptingOut(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	dir := filepath.Join(w.dir, "nat-log")
	list := w.conflist("1.1.0", able(w.masq()))
	listed := w.namedConflist("listed", "1.1.0", able(w.masqOn("10.88.128.0/17").With(keys{"allowAnnotations": []string{"egress"}, "toPorts": "20000-29999"})))
	early := w.tenant("early") // control: without a NAT log it may opt out
	early.attach(list)
	early.leavesAs(t, true, nil)

	const why = "not allowed by default where masqd keeps a NAT log"
	d := w.daemon("--nat-log", dir)
	w.isRefused(t, "late", list, why)
	d.end()
	w.isRefused(t, "beside", list, why) // the next masqd keeps the log again

	for _, c := range []struct {
		flag        string
		early, none bool // which tenants' untranslated flows are logged
	}{{"opted-out", true, false}, {"all", true, true}, {"none", false, false}} {
		t.Run(c.flag, func(t *testing.T) {
			w := w.in(t)
			d := w.daemon("--nat-log", filepath.Join(dir, c.flag), "--nat-log-direct", c.flag)
			defer d.end()
			trusted := w.tenant("trusted-" + c.flag)
			trusted.attach(listed)
			neighbor := w.attach("neighbor-"+c.flag, w.conflist("1.1.0", w.masq()))
			plan := w.V4
			tcp, _ := w.servers(plan.Server)
			inside := assert.Must(early.ServeTCP(at(early.addr(plan.Server), 0)))(t)
			flow := func(p *pod, to netip.AddrPort) netip.AddrPort {
				t.Helper()
				return assert.Must(p.Who(soon(t), netip.AddrPort{}, to))(t)
			}
			ofEarly, ofTrusted := flow(early, tcp), flow(trusted, tcp)
			between := flow(neighbor, inside.Addr()) // untranslated without an annotation
			translated := flow(neighbor, tcp)        // control: always logged, and logged last
			who := func(at netip.AddrPort) []report.Flow {
				flows, _ := w.who(at.String()+"/tcp", "--at", "now", "--nat-log", filepath.Join(dir, c.flag))
				return flows
			}
			until(t, "the translated flow is in the log", func() bool { return len(who(translated)) == 1 })
			for _, x := range []struct {
				what   string
				at     netip.AddrPort
				owner  string
				logged bool
			}{
				{"translated", translated, "neighbor-" + c.flag, true},
				{"opted out before the log existed", ofEarly, "early", c.early},
				{"opted out as allowed", ofTrusted, "trusted-" + c.flag, c.early},
				{"between containers", between, "neighbor-" + c.flag, c.none},
			} {
				if x.logged {
					until(t, x.what+": the flow is in the log", func() bool { return len(who(x.at)) == 1 })
				}
				flows := who(x.at)
				if (len(flows) == 1) != x.logged {
					t.Errorf("%s: %d flows in the log", x.what, len(flows))
					continue
				}
				if !x.logged {
					continue
				}
				nat := "none"
				if x.what == "translated" {
					nat = "snat"
				}
				if f := flows[0]; f.ContainerID != x.owner || f.NAT != nat || f.Translated.Source != x.at.Addr() || f.Translated.SourcePort != x.at.Port() {
					t.Errorf("%s: %+v", x.what, f)
				}
			}
		})
	}
}
