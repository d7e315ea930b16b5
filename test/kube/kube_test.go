package kube

import (
	"testing"
)

func TestKubernetes(t *testing.T) {
	for _, v := range versions(t) {
		t.Run(v.kube, func(t *testing.T) { newCluster(t, v).prove(t) })
	}
}

// prove starts with a cluster without masq, installs and removes it, and ends without masq. Each
// step uses the results of the steps before.
func (c *cluster) prove(t *testing.T) {
	for _, n := range c.nodes {
		n.routes(t)
		n.wire(t)
	}
	c.ready(t, "nodes", "--all")
	var bare, pods []*pod
	for _, n := range c.nodes {
		bare = append(bare, n.pod(t, "bare-"+n.name, nil, nil))
	}
	c.running(t, bare...)

	traces := c.traces(t)
	c.configure(t, policy())
	c.documented(t)
	c.installed(t)
	for _, n := range c.nodes {
		pods = append(pods, n.pod(t, "pod-"+n.name, nil, nil))
	}
	c.running(t, pods...)

	// A kubelet updates a ConfigMap slowly. Meanwhile the other steps run.
	t.Run("traffic", func(t *testing.T) {
		if c.version.whole {
			t.Run("edited", func(t *testing.T) {
				t.Parallel()
				c.edited(t, pods)
			})
		}
		t.Run("pods", func(t *testing.T) {
			t.Parallel()
			t.Run("egress", func(t *testing.T) { c.egress(t, pods, bare) })
			t.Run("annotated", c.annotated)
			t.Run("narrow", func(t *testing.T) { c.narrow(t, pods, bare) })
			t.Run("ftp", func(t *testing.T) { c.ftp(t, pods) })
			t.Run("asked", func(t *testing.T) { c.asked(t, pods) })
			t.Run("services", func(t *testing.T) { c.services(t, pods, gateways(c.nodes[1].podRanges(t))) })
		})
	})
	t.Run("doctor", func(t *testing.T) { c.doctor(t, pods) })
	t.Run("rolled", func(t *testing.T) { c.rolled(t, pods) })
	if c.version.cni == "1.1.0" {
		t.Run("polled", func(t *testing.T) { c.polled(t, c.nodes[1]) })
	}
	t.Run("flushed", func(t *testing.T) { c.flushed(t, pods[0]) })
	t.Run("rebooted", func(t *testing.T) { c.rebooted(t, pods[0]) })
	t.Run("uninstalled", func(t *testing.T) { c.uninstalled(t, traces, pods) })
	if c.version.whole {
		t.Run("agent", func(t *testing.T) { c.agent(t, pods) })
		t.Run("healthy agent", c.healthy)
		t.Run("uninstalled again", func(t *testing.T) { c.uninstalled(t, traces, pods) })
	}
	t.Run("cleared", c.cleared)
	if c.version.whole {
		t.Run("network", c.network)
	}
}
