package runtimes

import (
	"strings"
	"testing"
)

// A conflist newer than its runtime: no pod is made, and nothing is left of it.
func TestNewerThanTheRuntime(t *testing.T) {
	n := newNode(t)
	check(t, n.Node.Forward())
	c := n.containerd(releases(t)[0])
	before := n.traces()
	text := modes[0].with.text(t, "1.1.0")
	n.write(conflist, text)
	c.reads(text)
	if _, err := c.trySandbox("early", ""); err == nil || !strings.Contains(err.Error(), `unsupported CNI result version "1.1.0"`) {
		t.Errorf("containerd 1.6 says of CNI 1.1.0: %v", err)
	}
	unchanged(t, "left behind", n.traces(), before)
}
