package kube

import (
	"os"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// network makes masq the network plugin of the cluster. The overlay configures nodes without
// another plugin, with the ranges of their Node objects.
func (c *cluster) network(t *testing.T) {
	for _, n := range c.nodes {
		assert.NoError(t, os.Remove(n.path("/etc/cni/net.d/10-pods.conflist")))
	}
	for _, n := range c.nodes { // control
		c.do(t, "wait", "--for=condition=Ready=false", "--timeout=60s", "node", n.name)
	}
	traces := c.traces(t)
	c.configure(t, policy())
	c.do(t, "apply", "-k", manifests+"/kustomize/overlays/network")
	c.installed(t)
	c.ready(t, "nodes", "--all")
	var pods []*pod
	for _, n := range c.nodes {
		pods = append(pods, n.pod(t, "own-"+n.name, nil, nil))
	}
	c.running(t, pods...)
	for _, p := range pods {
		for _, r := range p.node.podRanges(t) {
			if a := p.addr(t, r.Addr()); !r.Contains(a) {
				t.Errorf("%s has %s, which is not of %s", p.name, a, r)
			}
		}
	}
	c.healthy(t)
	c.egress(t, pods, nil)
	c.narrow(t, pods, nil)
	c.services(t, pods, c.nodes[1].addrs)
	c.cleared(t)
	c.uninstalled(t, traces, nil)
}
