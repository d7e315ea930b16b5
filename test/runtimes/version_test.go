package runtimes

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// With a conflist newer than its runtime supports, no pod is made, and nothing remains.
func TestNewerThanTheRuntime(t *testing.T) {
	n := newNode(t)
	assert.NoError(t, n.Node.Forward())
	c := n.containerd(releases(t)[0])
	before := n.traces()
	text := modes[0].with.text(t, "1.1.0")
	n.write(conflist, text)
	c.reads(text)
	if _, err := c.trySandbox("early", ""); err == nil || !strings.Contains(err.Error(), `unsupported CNI result version "1.1.0"`) {
		t.Errorf("containerd 1.6 answers to CNI 1.1.0: %v", err)
	}
	unchanged(t, "remaining", n.traces(), before)
}
