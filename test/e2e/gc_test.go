package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// forget deletes the runtime's own records. With them, libcni would call DEL for attachments
// that are not valid, and nothing would remain for the plugin's GC.
func (w *world) forget() {
	w.t.Helper()
	assert.NoError(w.t, os.RemoveAll(filepath.Join(w.dir, "cache")))
}

// valid returns the attachments of these containers.
func valid(pods ...*pod) []types.GCAttachment {
	var out []types.GCAttachment
	for _, p := range pods {
		out = append(out, types.GCAttachment{ContainerID: p.runtime.ContainerID, IfName: p.runtime.IfName})
	}
	return out
}

// stale is a state in which a forgotten attachment may be.
type stale struct {
	name string
	keys keys // keys of its configuration
	make func(w *world, p *pod)
}

var stales = []stale{
	{"whole", nil, func(*world, *pod) {}},
	{"without record", nil, func(w *world, p *pod) { assert.NoError(w.t, os.Remove(w.recordPath(p.runtime.ContainerID))) }},
	{"with a damaged record", nil, func(w *world, p *pod) { assert.NoError(w.t, os.Truncate(w.recordPath(p.runtime.ContainerID), 20)) }},
	{"with the record of a newer version", nil, func(w *world, p *pod) {
		assert.NoError(w.t, os.WriteFile(w.recordPath(p.runtime.ContainerID), []byte(`{"version": 1000}`), 0o600))
	}},
	{"without lease", nil, func(w *world, p *pod) {
		for _, plan := range w.Plans() {
			assert.NoError(w.t, os.Remove(filepath.Join(w.dir, "leases", "net", p.addr(plan.Server).String())))
		}
	}},
	{"without link", nil, func(w *world, p *pod) { w.nodeRun("ip", "link", "del", p.host()) }},
	{"without namespace", nil, func(w *world, p *pod) { assert.NoError(w.t, p.Close()) }},
	{"retired", nil, func(w *world, p *pod) {
		path := w.recordPath(p.runtime.ContainerID)
		assert.NoError(w.t, os.Rename(path, strings.TrimSuffix(path, ".json")+".retired"))
		w.nodeRun("ip", "link", "del", p.host())
		w.takeElements(p)
	}},
	{"a lease without an attachment", nil, func(w *world, p *pod) {
		assert.NoError(w.t, p.tryDel(p.list))
		assert.NoError(w.t, os.WriteFile(filepath.Join(w.dir, "leases", "net", "10.88.7.8"), nil, 0o600))
	}},
	{"only a link", nil, func(w *world, p *pod) {
		assert.NoError(w.t, os.Remove(w.recordPath(p.runtime.ContainerID)))
		w.takeElements(p)
	}},
	{"no policy", keys{"ipMasq": false}, func(*world, *pod) {}},
	{"no policy, without record", keys{"ipMasq": false}, func(w *world, p *pod) { assert.NoError(w.t, os.Remove(w.recordPath(p.runtime.ContainerID))) }},
	{"its own policy", keys{"mssClamp": 1300, "helpers": keys{"ftp": []int{21}}}, func(*world, *pod) {}},
	{"its own policy, without record", keys{"mssClamp": 1300, "helpers": keys{"ftp": []int{21}}}, func(w *world, p *pod) {
		assert.NoError(w.t, os.Remove(w.recordPath(p.runtime.ContainerID)))
	}},
}

// takeElements removes a container's elements from the table.
func (w *world) takeElements(p *pod) {
	w.t.Helper()
	w.nft("delete element inet masq policy4 { %s }; delete element inet masq policy6 { %s }", p.addr(w.V4.Server), p.addr(w.V6.Server))
	for _, set := range []string{"clamp", "invalid", "linked"} {
		for _, plan := range w.Plans() {
			a := p.addr(plan.Server)
			name := map[bool]string{true: set + "4", false: set + "6"}[a.Is4()] + map[bool]string{true: "-pmtu"}[set == "clamp"]
			w.nft("delete element inet masq %s { %s }", name, a)
		}
	}
	w.nft("delete element inet masq sources4 { %q . %s }; delete element inet masq sources6 { %q . %s }",
		p.host(), p.addr(w.V4.Server), p.host(), p.addr(w.V6.Server))
}

// TestGC removes stale attachments of one network, in whatever state they are, and
// nothing else.
func TestGC(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	conf := w.masq()
	list := w.conflist("1.1.0", conf)
	other := w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24"))
	a, b := w.attach("a", list), w.attach("b", list)
	foreign := w.attach("foreign", other)
	// The same container and interface in another network.
	again := w.pod("again")
	again.runtime.ContainerID = "foreign"
	assert.NoError(t, again.tryAdd(list))
	t.Cleanup(func() { assert.NoError(t, again.tryDel(list)) })
	works := func(t *testing.T) {
		t.Helper()
		for _, p := range []*pod{a, b, foreign, again} {
			w := w.in(t)
			w.seenAs(p, w.V4, w.V4.Node)
		}
	}
	works(t)
	clean := uncounted(w.traces())
	for i, s := range stales {
		t.Run(s.name, func(t *testing.T) {
			w := w.in(t)
			p := w.pod(fmt.Sprintf("stale%d", i))
			assert.NoError(t, p.tryAdd(w.conflist("1.1.0", conf.With(s.keys))))
			s.make(w, p)
			if uncounted(w.traces()) == clean { // control
				t.Fatal("the test created no stale attachment")
			}
			// GC may report an error about a damaged attachment, but only once.
			w.forget()
			gc := w.gcOf(list, valid(a, b, again)...)
			if err := w.within(gc); err != nil && !strings.Contains(s.name, "record of") && !strings.Contains(s.name, "damaged") {
				t.Errorf("GC: %v", err)
			}
			unchanged(t, "remaining after GC", uncounted(w.traces()), clean)
			if err := w.within(gc); err != nil {
				t.Errorf("the second GC: %v", err)
			}
			assert.NoError(t, p.tryDel(list)) // also if the test has failed
			assert.NoError(t, p.Close())
			works(t)
			unchanged(t, "left", uncounted(w.traces()), clean)
		})
	}
}

// TestGCWithoutValidAttachments: a runtime passes no valid attachment when a network is unused.
func TestGCWithoutValidAttachments(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	other := w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24"))
	foreign := w.attach("foreign", other)
	before := uncounted(w.traces())
	for _, cached := range []bool{true, false} {
		var pods []*pod
		for i := range 3 {
			p := w.pod(fmt.Sprintf("c%d", i))
			assert.NoError(t, p.tryAdd(list))
			pods = append(pods, p)
		}
		all := uncounted(w.traces())
		if !cached {
			w.forget()
		}
		assert.NoError(t, w.within(w.gcOf(list, valid(pods...)...)))
		unchanged(t, "after GC of nothing", uncounted(w.traces()), all) // control
		assert.NoError(t, w.within(w.gcOf(list)))
		unchanged(t, "remaining after GC", uncounted(w.traces()), before)
		w.seenAs(foreign, w.V4, w.V4.Node)
		for _, p := range pods {
			if links := assert.Must(p.LinkNames())(t); len(links) != 1 {
				t.Errorf("%s keeps %v", p.Name(), links)
			}
			assert.NoError(t, p.Close())
		}
	}
	if !strings.Contains(before, "other/foreign/eth0") {
		t.Errorf("nothing of the other network:\n%s", before)
	}
}

// TestGCChained is GC in chained mode: one of two interfaces of a container is
// stale.
func TestGCChained(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.withPlugin("claims", `
cat > /dev/null
n=${CNI_IFNAME#eth}
case $CNI_COMMAND in
ADD) echo "{\"cniVersion\": \"1.1.0\", \"interfaces\": [{\"name\": \"$CNI_IFNAME\", \"sandbox\": \"$CNI_NETNS\"}],
	\"ips\": [{\"address\": \"10.77.0.1$n/24\", \"interface\": 0}]}"
esac
`)
	list := w.conflist("1.1.0", keys{"type": "claims"}, w.behind())
	p := w.attach("a", list)
	one := uncounted(w.traces())
	for _, record := range []string{"whole", "gone"} {
		second := &pod{NS: p.NS, w: w, runtime: &libcni.RuntimeConf{ContainerID: "a", NetNS: p.Path(), IfName: "eth1"}}
		assert.NoError(t, second.tryAdd(list))
		both := uncounted(w.traces())
		if both == one || !strings.Contains(both, "net/a/eth1") {
			t.Fatalf("nothing of eth1:\n%s", both)
		}
		w.forget()
		assert.NoError(t, w.within(w.gcOf(list, valid(p, second)...)))
		unchanged(t, "after GC of nothing", uncounted(w.traces()), both)
		if record == "gone" {
			for _, path := range assert.Must(filepath.Glob(filepath.Join(w.dir, "state", "attachments", "*.json")))(t) {
				if strings.Contains(string(assert.Must(os.ReadFile(path))(t)), `"interface":"eth1"`) {
					assert.NoError(t, os.Remove(path))
				}
			}
		}
		assert.NoError(t, w.within(w.gcOf(list, valid(p)...)))
		unchanged(t, "remaining after GC", uncounted(w.traces()), one)
	}
}

// TestGCOfASharedDirectory: two nodes keep their leases in one directory. GC of one, which
// does not know the other's containers, leaves their leases, and releases its own.
func TestGCOfASharedDirectory(t *testing.T) {
	a := newWorld(t, nstest.Uplink{})
	b := newWorld(t, nstest.Uplink{})
	shared := keys{"ipam": a.masq()["ipam"]}
	for _, state := range []string{"of its own", "shared"} {
		t.Run("state directory "+state, func(t *testing.T) {
			a, b := a.in(t), b.in(t)
			confB := b.masq().With(shared)
			if state == "shared" {
				confB["stateDir"] = a.masq()["stateDir"]
			}
			listA, listB := a.conflist("1.1.0", a.masq()), b.conflist("1.1.0", confB)
			left := a.attach("left", listA)
			gone := a.pod("gone")
			assert.NoError(t, gone.tryAdd(listA))
			other := b.attach("other", listB)
			// A lease of an old host-local, of a container that the runtime has forgotten.
			old := filepath.Join(a.dir, "leases", "net", "10.88.9.9")
			assert.NoError(t, os.WriteFile(old, []byte("elsewhere"), 0o600))
			lease := func(w *world, p *pod) string {
				return filepath.Join(a.dir, "leases", "net", p.addr(w.V4.Server).String())
			}
			a.forget()
			assert.NoError(t, a.within(a.gcOf(listA, valid(left)...)))
			for path, want := range map[string]bool{lease(a, left): true, lease(a, gone): false, lease(b, other): true, old: true} {
				if _, err := os.Stat(path); (err == nil) != want {
					t.Errorf("lease %s exists: %t, want %t", path, err == nil, want)
				}
			}
			assert.NoError(t, other.tryCheck(listB))
			b.seenAs(other, b.V4, b.V4.Node)
			a.seenAs(left, a.V4, a.V4.Node)
			// The control: GC of the same node releases it.
			b.forget()
			assert.NoError(t, b.within(b.gcOf(listB)))
			if _, err := os.Stat(lease(b, other)); err == nil {
				t.Error("GC of the same node keeps the lease of a stale container")
			}
			other.list = nil
			assert.NoError(t, os.Remove(old))
			assert.NoError(t, gone.Close())
		})
	}
}
