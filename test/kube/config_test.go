package kube

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// newsAddrs are outside's too. The first configuration translates traffic to them.
var newsAddrs = addrs("198.18.0.20", "2001:db8:18::20")

// longestSync is the maximum time in which a kubelet updates a ConfigMap: syncFrequency, one
// minute by default, plus one half (workerResyncIntervalJitterFactor).
const longestSync = 90 * time.Second

// edited changes the ConfigMap and waits until both kubelets have updated the file and both
// masqd have applied it.
func (c *cluster) edited(t *testing.T, pods []*pod) {
	for i, dst := range newsAddrs {
		for _, p := range pods {
			if src := p.leavesAs(t, dst); src != p.node.addrs[i] {
				t.Errorf("%s to %s, before: the source is %s, want %s", p.name, dst, src, p.node.addrs[i])
			}
		}
	}
	changed := policy(newsAddrs...)
	start := time.Now()
	c.configure(t, changed)
	late := map[*pod]time.Time{}
	until(t, longestSync+patience, "the kubelets update the configuration", func() error {
		for _, p := range pods {
			if late[p].IsZero() && p.node.configured(t, changed) {
				late[p] = time.Now()
			}
		}
		if len(late) < len(pods) {
			return fmt.Errorf("%d of %d nodes have it", len(late), len(pods))
		}
		return nil
	})
	for _, p := range pods {
		if took := late[p].Sub(start); took > longestSync+5*time.Second {
			t.Errorf("%s: the kubelet took %s", p.node.name, took)
		}
	}
	for i, dst := range newsAddrs {
		for _, p := range pods {
			own := p.addr(t, dst)
			until(t, patience, "the configuration is in effect on "+p.node.name, func() error {
				if src := p.leavesAs(t, dst); src != own {
					return fmt.Errorf("the source is %s, want %s", src, own)
				}
				return nil
			})
			c.seenAs(t, p, outsideAddrs[i], p.node.addrs[i]) // unchanged
		}
	}
	for _, p := range pods {
		t.Logf("%s: the kubelet brought it after %s", p.node.name, late[p].Sub(start))
	}
}

// configured reports whether the kubelet has passed this configuration to masqd.
func (n *node) configured(t testing.TB, want string) bool {
	t.Helper()
	files := assert.Must(filepath.Glob(n.path("/var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap/*/ip-masq-agent")))(t)
	for _, f := range files {
		if got, err := os.ReadFile(f); err == nil && bytes.Equal(got, []byte(want)) {
			return true
		}
	}
	return false
}

// policy returns a configuration of the nodes in which 10.0.0.0/8, the pods' range, and the
// given addresses are direct.
func policy(direct ...netip.Addr) string {
	out := "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - fd00::/16\n"
	for _, a := range direct {
		out += fmt.Sprintf("  - %s\n", onLAN(a).Masked())
	}
	return out + "helpers: {ftp: [21]}\n"
}
