package kube

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// agentConfig is ip-masq-agent's example configuration.
const agentConfig = `nonMasqueradeCIDRs:
  - 10.0.0.0/8
resyncInterval: 60s
`

// agent replaces ip-masq-agent by masqd: with the same ConfigMap, pods of another plugin, and
// without the plugin masq.
func (c *cluster) agent(t *testing.T, pods []*pod) {
	for _, p := range pods { // control
		for _, dst := range outsideAddrs {
			if src := p.leavesAs(t, dst); src != p.addr(t, dst) {
				t.Errorf("%s to %s, before: the source is %s", p.name, dst, src)
			}
		}
	}
	c.apply(t, text(t, object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"name": "ip-masq-agent", "namespace": "kube-system"},
		"data":     object{"config": agentConfig},
	}))
	kustomize := filepath.Join(assert.Must(filepath.Abs(manifests))(t), "kustomize")
	dir := t.TempDir()
	assert.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text(t, object{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{relative(t, dir, kustomize, "base")},
		"components": []string{
			relative(t, dir, kustomize, "components/daemon-only"), relative(t, dir, kustomize, "components/ip-masq-agent"),
		},
		"patches": []any{object{"patch": text(t, object{
			"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": object{"name": "masq-cni", "namespace": "kube-system"},
			"spec": object{"template": object{"spec": object{"containers": []any{
				object{"name": "masqd", "env": []any{object{"name": "MASQD_SOURCE_CIDRS", "value": podRanges}}},
			}}}},
		})}},
	})), 0o644))
	c.do(t, "apply", "-k", dir)
	c.rollout(t)
	for i, dst := range outsideAddrs {
		for _, p := range pods {
			c.seenAs(t, p, dst, p.node.addrs[i])
		}
	}
	for _, p := range pods {
		if src, own := p.leavesAs(t, insideAddrs[0]), p.addr(t, insideAddrs[0]); src != own {
			t.Errorf("%s in direct %s: the source is %s, want its own, %s", p.name, insideAddrs[0], src, own)
		}
	}
}

// relative returns a path as kustomize requires it.
func relative(t testing.TB, from, base, name string) string {
	t.Helper()
	return assert.Must(filepath.Rel(from, filepath.Join(base, name)))(t)
}
