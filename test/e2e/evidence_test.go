package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// wired makes a container that another plugin has connected. host is the node's end of its
// link; n distinguishes its addresses.
func (w *world) wired(id, host string, n int) *pod {
	w.t.Helper()
	p := w.pod(id)
	gateway := netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", n))
	assert.NoError(w.t, nstest.Connect(
		nstest.End{NS: w.Node, Name: host, Addresses: []netip.Prefix{netip.PrefixFrom(gateway, 16)}},
		nstest.End{NS: p.NS, Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.24/16", n))}}, 1500))
	assert.NoError(w.t, p.Route(netip.MustParsePrefix("0.0.0.0/0"), gateway))
	assert.NoError(w.t, w.Node.Forward())
	return p
}

// chain calls ADD after a plugin that has printed a result, and returns the call.
func (w *world) chain(p *pod, interfaces string, n int) call {
	w.t.Helper()
	c := call{verb: "ADD", id: p.runtime.ContainerID, netns: p.Path(), conf: w.behind().With(keys{
		"cniVersion": "1.0.0", "name": "net",
		"prevResult": json.RawMessage(fmt.Sprintf(`{"cniVersion":"1.0.0","interfaces":%s,"ips":[{"address":"10.%d.0.24/16"}]}`, interfaces, n)),
	})}
	w.add(c)
	return c
}

// add runs an ADD that must succeed.
func (w *world) add(c call) {
	w.t.Helper()
	var result any
	w.call(c).done(&result)
}

// cleaningDaemon starts a masqd that removes stale attachments without a grace period.
func (w *world) cleaningDaemon() *daemon {
	w.t.Helper()
	return w.daemon("--resync-interval", "1s", "--sweep-grace", "0s", "--config", filepath.Join(w.dir, "none"))
}

// cleansUp waits until masqd has checked every attachment twice: it removes two containers
// that ended one after the other.
func (w *world) cleansUp() {
	w.t.Helper()
	for _, id := range []string{"canary1", "canary2"} {
		p := w.wired(id, id, 99)
		c := w.chain(p, "[]", 99)
		if !w.hasElement("10.99.0.24") {
			w.t.Fatal("the canary has no element")
		}
		assert.NoError(w.t, p.Close())
		until(w.t, "an ended container is removed", func() bool { return !w.hasElement("10.99.0.24") })
		c.verb = "DEL"
		w.call(c).done(nil)
	}
}

func (w *world) hasElement(a string) bool {
	w.t.Helper()
	return strings.Contains(w.nodeRun("nft", "list", "map", "inet", "masq", "policy4"), a+" ")
}

// TestResultIsNoEvidence: names in prevResult that the node does not have, or that
// belong to another object, prove nothing about a container.
func TestResultIsNoEvidence(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	w.attach("other", list) // keeps the table until the end
	d := w.cleaningDaemon()
	w.nodeRun("ip", "link", "add", "eth0", "type", "bridge")
	type attached struct {
		*pod
		call
		addr string
	}
	var all []attached
	for i, interfaces := range []string{
		`[{"name":"eth0","mac":"ba:60:99:6a:a0:c6"}]`,
		`[{"name":"vlan7240c55beb"}]`,
		`[{"name":"dummy7240c55beb0","mac":"42"}]`,
		`[{"name":"vlan7240c55beb"},{"name":"dummy7240c55beb0","mac":"42"}]`,
		`[{"name":"cni0"}]`,
		`[]`,
	} {
		n := 224 + i
		p := w.wired(fmt.Sprintf("p%d", i), fmt.Sprintf("host%d", i), n)
		all = append(all, attached{p, w.chain(p, interfaces, n), fmt.Sprintf("10.%d.0.24", n)})
	}
	w.cleansUp()
	for _, a := range all {
		w.seenAs(a.pod, w.V4, w.V4.Node)
	}
	if n := d.metric(`masq_netlink_errors_total{part="links"}`); n != "" && n != "0" {
		t.Errorf("%s errors of links", n)
	}
	// The node's eth0 does not keep an ended container either.
	for _, a := range all {
		assert.NoError(t, a.Close())
		until(t, "container "+a.addr+" is removed", func() bool { return !w.hasElement(a.addr) })
	}
}

// TestBridgeIsRecreated: a deleted bridge proves nothing about its containers.
func TestBridgeIsRecreated(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masqOn("10.88.0.0/16").With(keys{
		"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "stateDir": nil,
	}), w.behind())
	p := w.attach("p", list)
	w.cleaningDaemon()
	w.nodeRun("ip", "link", "del", "cni0")
	w.cleansUp()
	host := ""
	for _, i := range p.result.Interfaces {
		if strings.HasPrefix(i.Name, "veth") {
			host = i.Name
		}
	}
	w.nodeRun("ip", "link", "add", "cni0", "type", "bridge")
	w.nodeRun("ip", "link", "set", host, "master", "cni0")
	w.nodeRun("ip", "addr", "add", "10.88.0.1/16", "dev", "cni0")
	w.nodeRun("ip", "link", "set", "cni0", "up")
	w.cleansUp()
	p.run("ip", "neigh", "flush", "all") // the new bridge has another MAC
	w.seenAs(p, w.V4, w.V4.Node)
}

// TestRenamedLink: the host's end of a link is renamed, in both modes. The container is
// still masqueraded, and DEL finds its link.
func TestRenamedLink(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("masqd %t", running), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			before := assert.Must(w.Node.LinkNames())(t)
			routed := w.masqOn("10.89.0.0/16")["ipam"].(keys).With(keys{"routes": []keys{{"dst": "0.0.0.0/0"}}})
			p := w.attach("p", w.conflist("1.0.0", w.masq()))
			q := w.attach("q", w.namedConflist("chained", "1.0.0", w.linkByPTP().With(keys{"ipam": routed}), w.behind()))
			if running {
				w.cleaningDaemon()
			}
			w.seenAs(q, w.V4, w.V4.Node)
			w.nodeRun("ip", "link", "set", p.host(), "name", "lan1")
			w.nodeRun("ip", "link", "set", q.host(), "name", "lan2")
			if running {
				until(t, "the link of the source check has its name again", func() bool { return w.hasLink(p.host()) })
				w.cleansUp()
				w.seenAs(p, w.V4, w.V4.Node)
			}
			w.seenAs(q, w.V4, w.V4.Node)
			p.detach()
			for _, name := range []string{"lan1", p.host()} {
				if w.hasLink(name) {
					t.Errorf("DEL has left %s", name)
				}
			}
			assert.NoError(t, q.Close())
			q.detach()
			until(t, "all links are removed", func() bool { return len(assert.Must(w.Node.LinkNames())(t)) == len(before) })
		})
	}
}

func (w *world) hasLink(name string) bool {
	w.t.Helper()
	return slices.Contains(assert.Must(w.Node.LinkNames())(w.t), name)
}

// TestNamespacePathIsReused: the path leads to another container's namespace, and no link
// proves that the first container ended.
func TestNamespacePathIsReused(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("other", w.conflist("1.0.0", w.masq()))
	w.cleaningDaemon()
	path := filepath.Join(t.TempDir(), "ns")
	bind := func(p *pod) {
		assert.NoError(t, os.WriteFile(path, nil, 0o600))
		assert.NoError(t, unix.Mount(p.Path(), path, "", unix.MS_BIND, ""))
	}
	unbind := func() error { return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)) }
	first, second := w.pod("first"), w.pod("second")
	bind(first)
	t.Cleanup(func() { _ = unbind() })
	c := call{verb: "ADD", id: "first", netns: path, conf: w.behind().With(keys{
		"cniVersion": "1.0.0", "name": "net",
		"prevResult": json.RawMessage(`{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.5/24"}]}`),
	})}
	w.add(c)
	w.cleansUp()
	if !w.hasElement("10.77.0.5") {
		t.Fatal("removed although its namespace exists")
	}
	assert.NoError(t, unbind())
	assert.NoError(t, first.Close())
	bind(second)
	until(t, "the first container is removed", func() bool { return !w.hasElement("10.77.0.5") })
}

// TestDaemonWithoutNamespaceDirectory: a masqd that cannot see the directory of namespaces
// keeps an attachment unless something else proves that its container ended, such as a
// missing link.
func TestDaemonWithoutNamespaceDirectory(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("other", w.conflist("1.0.0", w.masq()))
	linked, unlinked := w.wired("linked", "host0", 224), w.pod("unlinked")
	w.chain(linked, `[{"name":"eth0"}]`, 224)
	w.chain(unlinked, `[{"name":"eth0"}]`, 225)
	blind := &daemon{w: w, log: filepath.Join(w.dir, "masqd.log")}
	blind.Command = w.Node.Command(t.Context(), "unshare", append([]string{"--mount", "sh", "-c", `mount -t tmpfs none /run/netns && exec "$@"`, "sh", built("masqd")},
		w.served("--resync-interval", "1s", "--sweep-grace", "0s", "--config", filepath.Join(w.dir, "none"))...)...)
	assert.NoError(t, blind.Start())
	until(t, "masqd is ready", func() bool { _, text := blind.get("/readyz"); return strings.Contains(text, `"ready":true`) })
	w.cleansUp()
	if !w.hasElement("10.224.0.24") || !w.hasElement("10.225.0.24") {
		t.Error("a live container is removed")
	}
	assert.NoError(t, errors.Join(linked.Close(), unlinked.Close()))
	until(t, "the container without a link is removed", func() bool { return !w.hasElement("10.224.0.24") })
	w.cleansUp()
	if !w.hasElement("10.225.0.24") {
		t.Error("removed without a proof")
	}
	blind.end()
	w.cleaningDaemon()
	until(t, "a masqd that sees the directory removes it", func() bool { return !w.hasElement("10.225.0.24") })
}

// TestRemovedAttachmentIsRestored: an attachment is restored when its evidence exists again.
func TestRemovedAttachmentIsRestored(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attach("other", w.conflist("1.0.0", w.masq()))
	d := w.cleaningDaemon()
	p := w.pod("p")
	path := filepath.Join(t.TempDir(), "ns")
	bind := func() {
		assert.NoError(t, os.WriteFile(path, nil, 0o600))
		assert.NoError(t, unix.Mount(p.Path(), path, "", unix.MS_BIND, ""))
	}
	bind()
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	c := call{verb: "ADD", id: "p", netns: path, conf: w.behind().With(keys{
		"cniVersion": "1.0.0", "name": "net",
		"prevResult": json.RawMessage(`{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.5/24"}]}`),
	})}
	w.add(c)
	for range 2 {
		assert.NoError(t, errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)))
		until(t, "it is removed", func() bool { return !w.hasElement("10.77.0.5") })
		d.end()
		d = w.cleaningDaemon() // the removed record survives a restart of masqd
		bind()
		until(t, "it is restored", func() bool { return w.hasElement("10.77.0.5") })
	}
	assert.NoError(t, errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)))
	until(t, "it is removed", func() bool { return !w.hasElement("10.77.0.5") })
	c.verb = "DEL"
	w.call(c).done(nil)
	key := masq.Key{Network: "net", ContainerID: "p", Interface: "eth0"}
	if left := assert.Must(filepath.Glob(filepath.Join(w.dir, "state", "attachments", "*-"+key.Digest()+"*")))(t); len(left) > 0 {
		t.Errorf("DEL has left %q", left)
	}
}
