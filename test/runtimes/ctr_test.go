package runtimes

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// task is a container that ctr runs.
type task struct {
	c     *containerd
	id    string
	addrs []netip.Addr
}

// run starts a container by ctr and does not wait for it. Plugins run in ctr itself.
func (c *containerd) run(id string) *task {
	c.t.Helper()
	c.must("ctr -n k8s.io run --detach --cni %s %s", image, id)
	s := &task{c: c, id: id}
	result := c.must("cat /var/lib/cni/results/*-k8s.io-%s-eth0", id)
	for _, m := range regexp.MustCompile(`"address":"([^"]+)"`).FindAllStringSubmatch(result, -1) {
		s.addrs = append(s.addrs, assert.Must(netip.ParsePrefix(m[1]))(c.t).Addr())
	}
	return s
}

func (s *task) exec(args ...string) {
	s.c.t.Helper()
	s.c.must("ctr -n k8s.io tasks exec --exec-id one %s /pod %s", s.id, quoted(args))
}

// remove kills the container and removes it by ctr.
func (s *task) remove() {
	s.c.t.Helper()
	s.c.must("ctr -n k8s.io tasks kill --signal KILL %s", s.id)
	until(s.c.t, s.id+" has ended", func() bool {
		return strings.Contains(s.c.must("ctr -n k8s.io tasks list"), "STOPPED")
	})
	s.c.must("ctr -n k8s.io tasks rm %s && ctr -n k8s.io containers rm %[1]s", s.id)
}

// foreground runs each command in its own container, which ctr removes at its end.
type foreground struct{ *containerd }

func (f foreground) exec(args ...string) {
	f.t.Helper()
	f.must("ctr -n k8s.io run --rm --cni %s brief /pod %s", image, quoted(args))
}

// ctr runs a container and calls the plugins in its own process. It calls DEL after the
// namespace is deleted, or never.
func TestCtr(t *testing.T) {
	for _, r := range releases(t) {
		for _, m := range modes {
			t.Run(r.name+"/"+m.name, func(t *testing.T) {
				n := newNode(t)
				n.addDirect()
				assert.NoError(t, n.Node.Forward())
				c := n.containerd(r)

				c.network(m.without)
				control := c.run("control")
				n.untranslated(control, control.addrs)
				control.remove()
				if r.name == "1.6" {
					c.collect(m.without)
				}

				before := n.traces()
				c.network(m.with)
				if from := n.source(foreground{c}, n.V4.Server, "brief"); from != n.V4.Node {
					t.Errorf("packets of a short-lived container arrive from %s", from)
				}
				unchanged(t, "remaining after a container that ended", n.traces(), before)

				a := c.run("a")
				n.translated(a, a.addrs, "detached")
				n.sound("detached", "k8s.io-a")
				a.remove()
				if r.name == "1.6" {
					// ctr never calls DEL: the next ADD of that name, or GC, must clean up.
					if left := n.traces(); !strings.Contains(left, "k8s.io-a") {
						t.Errorf("ctr has called DEL, so GC proves nothing:\n%s", left)
					}
					if m.name == "main" { // host-local refuses a second lease of a name
						a = c.run("a")
						n.translated(a, a.addrs, "again")
						a.remove()
					}
					c.collect(m.with)
				}
				unchanged(t, "remaining", n.traces(), before)
			})
		}
	}
}
