package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// linkDamage is one way to disconnect a container on the node's side of its link.
type linkDamage struct {
	name string
	cut  func(w *world, p *pod)
	kind string // label of masq_repairs_total
	v6   bool   // the affected family
}

var linkDamages = []linkDamage{
	{"ip route flush, IPv4", func(w *world, p *pod) { w.nodeRun("ip", "-4", "route", "flush", "dev", p.host()) }, "route", false},
	{"ip route flush, IPv6", func(w *world, p *pod) { w.nodeRun("ip", "-6", "route", "flush", "dev", p.host()) }, "route", true},
	{"ip route flush proto kernel", func(w *world, p *pod) { // as networkd does with routes it does not manage
		w.nodeRun("ip", "-4", "route", "flush", "proto", "kernel", "table", "main", p.addr(w.V4.Server).String())
	}, "route", false},
	{"the gateway's address", func(w *world, p *pod) {
		w.nodeRun("ip", "-6", "address", "flush", "dev", p.host())
		p.run("ip", "-6", "neigh", "flush", "dev", "eth0")
	}, "address", true},
	{"the link down", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "down") }, "state", false},
	{"the link down, IPv6", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "down") }, "state", true},
	{"the link's MAC", func(w *world, p *pod) { w.nodeRun("ip", "link", "set", p.host(), "address", "02:00:00:00:00:77") }, "mac", false},
}

func (l linkDamage) server(w *world) netip.Addr {
	if l.v6 {
		return w.V6.Server
	}
	return w.V4.Server
}

// TestDaemonRestoresLinks: masqd restores a container's objects on the node's side of its
// link, at once while it runs, and at its start otherwise. Without masqd they stay missing.
// Routes of other programs are not changed.
func TestDaemonRestoresLinks(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.idleLink()
	w.nodeRun("ip", "route", "add", "203.0.113.0/24", "dev", "uplink")
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	w.attach("another", w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24")))
	routes := func() (out []string) {
		for _, family := range []string{"-4", "-6"} {
			text := assert.Must(w.Node.Command(t.Context(), "ip", family, "route", "show", "table", "main").Output())(t)
			out = append(out, strings.Split(string(text), "\n")...)
		}
		slices.Sort(out)
		return out
	}
	all := func() bool { return answered(p, w.V4.Server) && answered(p, w.V6.Server) }
	until(t, "there are answers", all)
	before := routes()
	for _, c := range linkDamages {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			asBefore := func(what string) {
				t.Helper()
				var after []string
				defer func() {
					if t.Failed() {
						t.Logf("routes after %s:\n%q\nnot\n%q", what, after, before)
					}
				}()
				until(t, "the routes are restored", func() bool { after = routes(); return slices.Equal(after, before) })
			}
			c.cut(w, p) // control
			if reaches(p, c.server(w)) {
				t.Fatal("there are answers, and nothing has repaired the link")
			}
			d := w.daemon() // it repairs at its start
			until(t, "there are answers", all)
			was := 0
			until(t, "it counts the repair at its start", func() bool { was = d.repaired(c.kind); return was > 0 })
			asBefore("a start")
			c.cut(w, p)
			until(t, "masqd repairs it", func() bool { return d.repaired(c.kind) > was })
			until(t, "there are answers again", all)
			asBefore("a repair")
			d.end()
		})
	}
}

// TestConfinedDaemonRestoresLinks: with CAP_NET_ADMIN alone and read-only files, masqd restores
// the settings of a link at its start, and a link that is set down while it runs.
func TestConfinedDaemonRestoresLinks(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	settings := map[string]string{}
	for name, other := range map[string]string{"arp_evict_nocarrier": "1", "rp_filter": "0", "arp_accept": "1"} {
		key := "net/ipv4/conf/" + p.host() + "/" + name
		settings[key] = assert.Must(w.Node.ReadSysctl(key))(t)
		if settings[key] == other {
			t.Errorf("%s is %s after ADD", key, other)
		}
		assert.NoError(t, w.Node.Sysctl(key, other))
	}
	log := filepath.Join(w.dir, "masqd.log")
	d := &daemon{w: w, log: log, Command: w.confined(context.WithoutCancel(t.Context()), "-all,+net_admin")}
	d.Stderr = assert.Must(os.Create(log))(t)
	assert.NoError(t, d.Start())
	until(t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	d.isConfined()
	// masqd restores the settings at its start, as for attachments of an earlier version.
	for key, want := range settings {
		if got := assert.Must(w.Node.ReadSysctl(key))(t); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	w.nodeRun("ip", "link", "set", p.host(), "down")
	until(t, "there are answers", func() bool { return answered(p, w.V4.Server) && answered(p, w.V6.Server) })
	if got := d.metric("masq_sync_failures_total"); got != "0" {
		t.Errorf("%s syncs failed:\n%s", got, assert.Must(os.ReadFile(log))(t))
	}
	d.end()
}

// TestDaemonComparesLinksAtResync: the kernel sends no notification when a proxy neighbor is
// deleted, so the next resync restores it.
func TestDaemonComparesLinksAtResync(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	d := w.daemon("--resync-interval=1s")
	defer d.end()
	w.nodeRun("ip", "neigh", "del", "proxy", "169.254.1.1", "dev", p.host())
	until(t, "the proxy neighbor is restored", func() bool {
		out, err := w.Node.Command(t.Context(), "ip", "neigh", "show", "proxy", "dev", p.host()).Output()
		return err == nil && strings.Contains(string(out), "169.254.1.1")
	})
}

// TestLinkRepairLoop: if another program deletes a route repeatedly, masqd limits its repairs
// and reports a repair loop.
func TestLinkRepairLoop(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("a", w.conflist("1.1.0", w.masq()))
	d := w.daemon()
	addr := p.addr(w.V4.Server).String()
	until(t, "masqd reports a repair loop", func() bool {
		// The route may be missing at this moment.
		err := w.Node.Command(t.Context(), "ip", "route", "del", addr, "dev", p.host()).Run()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatal(err)
		}
		return d.metric("masq_repair_loops_total") == "1"
	})
	until(t, "there are answers again", func() bool { return answered(p, w.V4.Server) })
	d.end()
}
