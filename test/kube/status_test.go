package kube

import (
	"strings"
	"testing"
)

// polled checks that the kubelet gets masq's STATUS: while the rules of pods are missing and
// masqd is stopped, the node is not ready and the reason is reported.
func (c *cluster) polled(t *testing.T, n *node) {
	n.suspend(t)
	n.output(t, "nft", "delete", "table", "inet", "masq")
	c.do(t, "wait", "--for=condition=Ready=false", "--timeout=60s", "node", n.name)
	why := c.get(t, `.status.conditions[?(@.type=="Ready")].message`, "node", n.name)
	n.resume(t)
	if !strings.Contains(why, "the rules of attachments are gone") {
		t.Errorf("%s is not ready as %s", n.name, why)
	}
	c.do(t, "wait", "--for=condition=Ready", "--timeout=60s", "node", n.name)
}
