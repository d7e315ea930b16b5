package runtimes

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// ready returns the network's readiness that containerd reports to the kubelet.
func (c *containerd) ready() (is bool, why string) {
	c.t.Helper()
	r := assert.Must(c.cri.Status(soon(c.t), &runtimeapi.StatusRequest{}))(c.t)
	for _, k := range r.GetStatus().GetConditions() {
		if k.GetType() == runtimeapi.NetworkReady {
			return k.GetStatus(), k.GetMessage()
		}
	}
	c.t.Fatal("containerd does not report the network's readiness")
	return false, ""
}

// becomes waits until the network is ready, or is not ready for this reason.
func (c *containerd) becomes(ready bool, why string) {
	c.t.Helper()
	until(c.t, "the network's readiness is reported: "+why, func() bool {
		is, said := c.ready()
		return is == ready && strings.Contains(said, why)
	})
}

// With CNI 1.1.0 containerd calls STATUS whenever the kubelet asks for its status, and the node
// is ready only if masq is.
func TestStatus(t *testing.T) {
	r := releases(t)[1]
	elsewhere := netip.MustParsePrefix("192.0.2.77/24")
	picky := masq.With(keys{"snatAddresses": []string{elsewhere.Addr().String()}})
	for name, list := range map[string]network{
		"main": {"net", []keys{alone.With(picky)}},
		"ptp":  {"net", []keys{ptp, picky}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.addDirect()
			assert.NoError(t, n.Node.Forward())
			c := n.containerd(r)
			before := n.traces()

			// The control: for a network of an older version, STATUS is not called.
			n.write(conflist, list.text(t, "1.0.0"))
			c.becomes(true, "")

			c.network(list)
			c.becomes(false, elsewhere.Addr().String())
			if _, err := c.trySandbox("early", ""); err == nil || !strings.Contains(err.Error(), elsewhere.Addr().String()) {
				t.Errorf("a pod is made although the network is not ready, or it fails for another reason: %v", err)
			}
			unchanged(t, "remaining after a pod that could not be made", n.traces(), before)

			assert.NoError(t, n.Node.AddAddress("uplink", elsewhere))
			c.becomes(true, "")
			before = n.traces()
			s := c.sandbox("pod")
			if from := n.source(s, n.V4.Server, "hello"); from != elsewhere.Addr() {
				t.Errorf("the server sees %s", from)
			}

			// Another program deletes the pod's rules, and masqd restores them.
			n.must("nft delete table inet masq")
			c.becomes(false, "the rules of attachments are gone")
			d := n.masqd()
			c.becomes(true, "")
			if from := n.source(s, n.V4.Server, "again"); from != elsewhere.Addr() {
				t.Errorf("after the repair the server sees %s", from)
			}
			d.end(t, syscall.SIGTERM)
			s.remove()
			unchanged(t, "remaining", n.traces(), before)
		})
	}
}
