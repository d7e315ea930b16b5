package kube

import (
	"strings"
	"testing"
)

// polled proves that the kubelet hears of masq's STATUS: where the rules of pods are
// gone, and masqd stands still, the node is not ready, and says why.
func (c *cluster) polled(t *testing.T, n *node) {
	n.output(t, "pkill", "-STOP", "-x", "masqd")
	n.output(t, "nft", "delete", "table", "inet", "masq")
	c.do(t, "wait", "--for=condition=Ready=false", "--timeout=60s", "node", n.name)
	why := c.get(t, `.status.conditions[?(@.type=="Ready")].message`, "node", n.name)
	n.output(t, "pkill", "-CONT", "-x", "masqd")
	if !strings.Contains(why, "the rules of attachments are gone") {
		t.Errorf("%s is not ready as %s", n.name, why)
	}
	c.do(t, "wait", "--for=condition=Ready", "--timeout=60s", "node", n.name)
}
