package runtimes

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// podmanMachineConf configures podman for a machine without systemd, where limits cannot be
// raised.
const podmanMachineConf = `[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=1024:1024"]
`

// podmanConf makes podman use CNI on such a machine.
const podmanConf = `[network]
network_backend = "cni"
` + podmanMachineConf

// podmanVersion is the newest CNI version that Debian's podman supports.
const podmanVersion = "0.4.0"

// container is a container of podman.
type container struct {
	*node
	name string
}

// podman installs the configuration and the image of pod.
func (n *node) podman() {
	n.t.Helper()
	n.write("/etc/containers/containers.conf", podmanConf)
	archive := filepath.Join(n.t.TempDir(), "pod.tar")
	packImage(n.t, archive)
	n.must("podman load --quiet --input %s", archive)
}

func (n *node) podmanRun(name, network string) *container {
	n.t.Helper()
	n.must("podman run --detach --name %s --network %s %s", name, network, image)
	return &container{n, name}
}

func (c *container) exec(args ...string) {
	c.t.Helper()
	c.must("podman exec %s /pod %s", c.name, quoted(args))
}

func (c *container) inspect(format string) string {
	c.t.Helper()
	return strings.TrimSpace(c.must("podman inspect %s --format '%s'", c.name, format))
}

func (c *container) addrs() (out []netip.Addr) {
	c.t.Helper()
	for a := range strings.FieldsSeq(c.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}")) {
		out = append(out, assert.Must(netip.ParseAddr(a))(c.t))
	}
	return out
}

// remove retries until it succeeds: podman may refuse while a container is ending.
func (c *container) remove() {
	c.t.Helper()
	eventually(c.t, func() error {
		_, err := c.shell(soon(c.t), "podman rm --force --time 0 "+c.name).Output()
		return err
	})
}

func TestPodman(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			n := newNode(t)
			n.addDirect()
			assert.NoError(t, n.Node.Forward())
			n.podman()
			for _, list := range []network{m.without, m.with} {
				n.write("/etc/cni/net.d/"+list.name+".conflist", list.text(t, podmanVersion))
			}
			control := n.podmanRun("control", m.without.name)
			n.untranslated(control, control.addrs())
			control.remove()

			before := n.traces()
			first, second, third := n.podmanRun("first", "net"), n.podmanRun("second", "net"), n.podmanRun("third", "net")
			for _, c := range []*container{first, second, third} {
				n.translated(c, c.addrs(), c.name)
			}
			n.sound("podman", first.inspect("{{.Id}}"), second.inspect("{{.Id}}"))
			n.must("podman restart --time 0 first")
			n.translated(first, first.addrs(), "after a restart")
			first.remove()

			// Podman has no daemon: conmon, which monitors a container, is killed first.
			n.must("kill -KILL $(cat %s) %s", second.inspect("{{.ConmonPidFile}}"), second.inspect("{{.State.Pid}}"))
			second.remove()

			// The namespace is deleted: podman removes the container without DEL.
			netns := third.inspect("{{.NetworkSettings.SandboxKey}}")
			n.must("umount -l %s && rm %[1]s && kill -KILL $(cat %s) %s", netns, third.inspect("{{.ConmonPidFile}}"), third.inspect("{{.State.Pid}}"))
			third.remove()
			n.removeStale()
			n.collect(m.with)
			unchanged(t, "remaining", n.traces(), before)
		})
	}
}
