package kube

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// gateways returns the addresses that ptp gives the node, one for each range of pods.
func gateways(ranges []netip.Prefix) (out []netip.Addr) {
	for _, r := range ranges {
		out = append(out, r.Addr().Next())
	}
	return out
}

// wire installs what the installer of another CNI would: ptp, which does not masquerade, and
// portmap.
func (n *node) wire(t testing.TB) {
	t.Helper()
	for _, name := range []string{"ptp", "host-local", "portmap", "loopback"} {
		program := assert.Must(os.ReadFile(filepath.Join(needed(t, "MASQ_PEERS"), name)))(t)
		dest := n.path("/opt/cni/bin/" + name)
		assert.NoError(t, os.MkdirAll(filepath.Dir(dest), 0o755))
		assert.NoError(t, os.WriteFile(dest, program, 0o755))
	}
	var ranges []any
	for _, p := range n.podRanges(t) {
		ranges = append(ranges, []any{map[string]string{"subnet": p.String()}})
	}
	n.write(t, "/etc/cni/net.d/10-pods.conflist", text(t, object{
		"cniVersion": n.c.version.cni, "name": "pods",
		"plugins": []any{
			object{"type": "ptp", "ipam": object{
				"type": "host-local", "ranges": ranges,
				"routes": []any{map[string]string{"dst": "0.0.0.0/0"}, map[string]string{"dst": "::/0"}},
			}},
			object{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}))
}
