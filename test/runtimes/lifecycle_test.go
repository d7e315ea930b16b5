package runtimes

import (
	"strings"
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// Pods by CRI, made as the kubelet makes them, through everything that can happen to them.
// At the end nothing of them remains.
func TestContainerd(t *testing.T) {
	for _, r := range releases(t) {
		for _, m := range modes {
			t.Run(r.name+"/"+m.name, func(t *testing.T) { lifecycle(t, r, m) })
		}
	}
}

func lifecycle(t *testing.T, r release, m mode) {
	n := newNode(t)
	n.addDirect()
	assert.NoError(t, n.Node.Forward())
	c := n.containerd(r)

	c.network(m.without)
	control := c.sandbox("control")
	n.untranslated(control, control.addrs)
	control.remove()

	before := n.traces() // the bridge of plugin bridge exists now
	c.network(m.with)
	first, second, third := c.sandbox("first"), c.sandbox("second"), c.sandbox("third")
	if n.traces() == before {
		t.Fatal("the traces of pods are not detected")
	}
	for _, s := range []*sandbox{first, second, third} {
		n.translated(s, s.addrs, s.config.GetMetadata().GetName())
	}
	if known := n.must("masq-cni inspect pods"); !strings.Contains(known, "shop/first") {
		t.Errorf("the record lacks the pod's name:\n%s", known)
	}
	if text := n.must("cat /var/lib/cni/results/net-*"); !strings.Contains(text, `"cniVersion":"`+r.version+`"`) {
		t.Errorf("containerd does not use CNI %s:\n%s", r.version, text)
	}

	n.sound("without masqd", first.id, second.id)
	n.faulty()
	d := n.masqd()
	n.sound("with masqd", first.id, second.id)
	d.end(t, syscall.SIGTERM)

	// The runtime is restarted, and killed; a connection continues.
	srv := assert.Must(n.Server.ServeTCP(at(n.V4.Server, 0)))(t)
	talker := first.start("talker", "talk", srv.Addr().String())
	_ = assert.Must(srv.WaitSources(soon(t), 1))(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		c.restart(sig)
		n.translated(first, first.addrs, "after "+sig.String())
	}
	is := assert.Must(c.cri.ContainerStatus(soon(t), &runtimeapi.ContainerStatusRequest{ContainerId: talker}))(t)
	if is.GetStatus().GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING || len(srv.Sources()) != 1 {
		t.Errorf("the connection did not survive the restarts: %s, %d connections", is.GetStatus().GetState(), len(srv.Sources()))
	}
	first.remove()

	// All processes of a pod are killed.
	n.must("kill -KILL %s", second.pids())
	second.dies()
	second.remove()

	// Its network namespace is deleted before DEL.
	netns := third.netns()
	n.must("kill -KILL %s && umount --lazy %s && rm %[2]s", third.pids(), netns)
	third.dies()
	third.remove()
	unchanged(t, "remaining", n.traces(), before)

	// A pod opts out by its annotation.
	free := c.sandbox("free", "masq-cni.dev/egress", "direct")
	n.untranslated(free, free.addrs)

	// A power failure.
	lost := c.sandbox("lost")
	n.crash()
	_ = c.service.Wait()
	c.start()
	later := c.sandbox("later")
	n.translated(later, later.addrs, "after a crash")
	for _, s := range []*sandbox{free, lost, later} {
		s.remove()
	}
	unchanged(t, "remaining after a crash", n.traces(), before)
}
