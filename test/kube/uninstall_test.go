package kube

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// uninstalled removes masq from the cluster as the manual says, and checks that nothing remains
// on the nodes. traces are the traces from before.
func (c *cluster) uninstalled(t *testing.T, traces map[*node]string, pods []*pod) {
	for _, n := range c.nodes {
		if got := n.traces(t); got == traces[n] {
			t.Errorf("%s has no trace of masq, so the test proves nothing", n.name)
		}
	}
	c.do(t, "apply", "-f", manifests+"/uninstall.yaml")
	c.rollout(t)
	c.do(t, "delete", "-f", manifests+"/uninstall.yaml", "--timeout=60s")
	c.do(t, "delete", "configmap", "--namespace=kube-system", "masq-cni-config", "--ignore-not-found")
	for _, n := range c.nodes {
		if got := n.traces(t); got != traces[n] {
			t.Errorf("%s has\n%s\nand had before masq\n%s", n.name, got, traces[n])
		}
	}
	for _, dst := range outsideAddrs {
		for _, p := range pods {
			own := p.addr(t, dst)
			if src := p.leavesAs(t, dst); src != own {
				t.Errorf("%s to %s is still masqueraded: the source is %s", p.name, dst, src)
			}
		}
	}
}

// traces returns everything that masq could leave on the nodes.
func (c *cluster) traces(t testing.TB) map[*node]string {
	t.Helper()
	all := map[*node]string{}
	for _, n := range c.nodes {
		all[n] = n.traces(t)
	}
	return all
}

func (n *node) traces(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, top := range []string{"/etc/cni", "/opt/cni", "/run/masq-cni", "/var/lib/masq-cni"} {
		err := filepath.WalkDir(n.path(top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content := assert.Must(os.ReadFile(path))(t)
			fmt.Fprintf(&b, "%s %s %x\n", strings.TrimPrefix(path, n.path("/")), assert.Must(d.Info())(t).Mode(), sha256.Sum256(content))
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if _, err := os.Stat(n.path(top)); err == nil {
			fmt.Fprintln(&b, "directory", top)
		}
	}
	for line := range strings.Lines(n.output(t, "nft", "list", "tables")) {
		if strings.Contains(line, "masq") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// cleared removes all pods, and checks that their links and leases are removed.
func (c *cluster) cleared(t *testing.T) {
	c.do(t, "delete", "pods", "--all", "--timeout=60s")
	for _, n := range c.nodes {
		until(t, patience, "links and leases of pods are removed from "+n.name, func() error {
			links := assert.Must(n.LinkNames())(t)
			if leases := n.leased(t); len(links) != 3 || len(leases) != 0 { // lo, eth0, narrow
				return fmt.Errorf("links %q and leases %q remain", links, leases)
			}
			return nil
		})
	}
}
