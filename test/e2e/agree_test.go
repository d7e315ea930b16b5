package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// fault is one defect of an attachment.
type fault struct {
	name string
	// make creates the defect, restore removes it.
	make, restore func(*world, *pod)
	// object is the kind and name in the output. HOST, ADDR and DEFAULT stand for the link,
	// the container's IPv4 address, and its default route.
	kind, object string
	// stays is the message of masqd for a defect that it does not repair.
	stays string
}

// on returns a function that runs an iproute2 command in the node or in the container.
func on(container bool, words string) func(*world, *pod) {
	return func(w *world, p *pod) {
		w.t.Helper()
		args := strings.Fields(p.named(words))
		if container {
			p.run(args[0], args[1:]...)
			return
		}
		w.nodeRun(args[0], args[1:]...)
	}
}

func (p *pod) named(s string) string {
	return strings.NewReplacer("HOST", p.host(), "ADDR", p.addr(p.w.V4.Server).String(), "PREFIX", p.prefix(p.w.V4), "DEFAULT", "default via 169.254.1.1").Replace(s)
}

var faultsThatAgree = []fault{
	{"the uplink does not forward", on(false, "sysctl -qw net.ipv4.conf.uplink.forwarding=0"), on(false, "sysctl -qw net.ipv4.conf.uplink.forwarding=1"), "setting", "net.ipv4.conf.uplink.forwarding", ""},
	{"the route to the container", on(false, "ip route del ADDR"), on(false, "ip route add ADDR dev HOST proto kernel scope link"), "route", "HOST ADDR/32", ""},
	{"the route leads elsewhere", on(false, "ip route replace ADDR dev lo"), on(false, "ip route replace ADDR dev HOST proto kernel scope link"), "route", "HOST ADDR/32", "the node's route to ADDR"},
	{"a rule", func(w *world, _ *pod) { w.takeRule("postrouting", "postrouting/policy4") }, nil, "rule", "postrouting postrouting/policy4", ""},
	{"an element", func(w *world, p *pod) { w.nft("delete element inet masq policy4 { %s }", p.addr(w.V4.Server)) }, nil, "element", "policy4 ADDR", ""},
	{"the default route of the container", on(true, "ip -4 route del default"), on(true, "ip -4 route add DEFAULT dev eth0 onlink"), "route", "eth0 DEFAULT", "route DEFAULT"},
	{"the container's default route leads elsewhere", on(true, "ip -4 route replace default via 169.254.1.9 dev eth0 onlink"), on(true, "ip -4 route replace DEFAULT dev eth0 onlink"), "route", "eth0 DEFAULT", "DEFAULT"},
	{"an address of the container", on(true, "ip addr del PREFIX dev eth0"), func(w *world, p *pod) {
		on(true, "ip addr add PREFIX dev eth0 noprefixroute")(w, p)
		on(true, "ip -4 route add DEFAULT dev eth0 onlink")(w, p)
	}, "address", "eth0 PREFIX", "address PREFIX"},
	{"the container's link is down", on(true, "ip link set eth0 down"), nil, "state", "eth0", "eth0"},
}

// tell checks that CHECK, inspect drift, inspect pod and inspect agree on whether the
// attachment is correct. It returns the output of inspect drift and inspect pod.
func (w *world) tell(p *pod, checked error) (drift report.Drift, pod report.Pod) {
	w.t.Helper()
	out, err := w.command(w.Node, "inspect", "drift", "-o", "json").Output()
	assert.NoError(w.t, json.Unmarshal(out, &drift))
	if (code(err) == 1) != drift.Drift {
		w.t.Errorf("inspect drift: %v, and the output is %+v", err, drift)
	}
	pod = sole(w.t, inspect[[]report.Pod](w, "pod", p.runtime.ContainerID))
	n, _ := w.glance()
	if (checked != nil) != drift.Drift || drift.Drift != (len(pod.Drift) > 0) || n.Healthy == drift.Drift {
		w.t.Errorf("CHECK: %v; drift: %+v; pod: %+v; node: %s", checked, drift, pod.Drift, n.Verdict)
	}
	return drift, pod
}

// TestComparisonsAgree: CHECK, inspect drift, inspect pod and inspect report the same
// defects of an attachment, and report nothing for a correct one.
func TestComparisonsAgree(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	for i, f := range faultsThatAgree {
		t.Run(f.name, func(t *testing.T) {
			p := w.pod("p" + string(rune('a'+i)))
			p.runtime.ContainerID = p.Name() + strings.Repeat("0123456789", 6)
			p.attach(list)
			defer p.detach()
			w.tell(p, p.tryCheck(list))
			f.make(w, p)
			err := p.tryCheck(list)
			drift, pod := w.tell(p, err)
			for _, all := range [][]report.Change{drift.Changes, pod.Drift} {
				if !slices.ContainsFunc(all, func(c report.Change) bool { return c.Kind == f.kind && c.Name == p.named(f.object) }) {
					t.Errorf("%s %s is missing from %+v", f.kind, p.named(f.object), all)
				}
			}
			if err == nil {
				t.Error("CHECK succeeds")
			}
			if f.restore == nil {
				return
			}
			f.restore(w, p)
			if err := p.tryCheck(list); err != nil {
				t.Errorf("after the defect was removed, CHECK fails: %v", err)
			}
			w.tell(p, nil)
		})
	}
}

// TestReadinessAgrees: masqd repairs the node's side; what it does not repair is a reason
// until it is repaired.
func TestReadinessAgrees(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	p := w.attach("p", list)
	d := w.daemon()
	until(t, "masqd reports no reason", func() bool { return len(d.reasons(t)) == 0 })
	for _, f := range faultsThatAgree {
		if f.restore == nil {
			continue
		}
		f.make(w, p)
		if f.stays != "" {
			until(t, "masqd reports: "+f.name, func() bool {
				return slices.ContainsFunc(d.reasons(t), func(s string) bool { return strings.Contains(s, p.named(f.stays)) })
			})
			if p.tryCheck(list) == nil {
				t.Errorf("%s: CHECK succeeds", f.name)
			}
			f.restore(w, p)
		}
		until(t, "CHECK finds no fault after "+f.name, func() bool { return p.tryCheck(list) == nil })
		until(t, "masqd reports no reason after "+f.name, func() bool { return len(d.reasons(t)) == 0 })
	}
	w.tell(p, p.tryCheck(list))
}
