package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// manifests is the directory of the applied manifests.
const manifests = "../../deploy"

// documented runs the first commands of docs/kubernetes.md in order: ctr on each node,
// kubectl outside. make kube has run the page's make image before. Pushing to a registry
// is tested in test/deploy; of the three ways to apply, this runs the plain manifest.
func (c *cluster) documented(t testing.TB) {
	t.Helper()
	checkout := assert.Must(filepath.Abs("../.."))(t)
	page := string(assert.Must(os.ReadFile(filepath.Join(checkout, "docs/kubernetes.md")))(t))
	imported, applied := false, false
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		line := strings.TrimSpace(block[1])
		switch {
		case applied || line == "make image" || strings.HasPrefix(line, "make push "):
		case strings.HasPrefix(line, "ctr "):
			line = strings.ReplaceAll(line, "amd64", runtime.GOARCH)
			for _, n := range c.nodes {
				n.output(t, "env", "PATH="+n.c.version.containerd+":"+os.Getenv("PATH"), "bash", "-c", "cd "+checkout+" && "+line)
			}
			imported = true
		case strings.HasPrefix(line, "kubectl apply -f "):
			c.do(t, "apply", "-f", filepath.Join(checkout, strings.TrimPrefix(line, "kubectl apply -f ")))
			applied = true
		default:
			t.Fatalf("docs/kubernetes.md: no test runs %s", line)
		}
	}
	if !imported || !applied {
		t.Fatal("docs/kubernetes.md does not say how to import the image and apply the manifest")
	}
}

// installed waits until masq is on every node.
func (c *cluster) installed(t testing.TB) {
	t.Helper()
	c.rollout(t)
	for _, n := range c.nodes {
		until(t, 30*time.Second, "masq is in the conflist of "+n.name, func() error {
			if all := n.conflists(t); !strings.Contains(all, `"masq"`) {
				return fmt.Errorf("the files are\n%s", all)
			}
			return nil
		})
	}
}

// rollout waits until the pods of the DaemonSet are ready.
func (c *cluster) rollout(t testing.TB) {
	t.Helper()
	out, err := c.kubectl(within(t, 2*time.Minute), "rollout", "status", "--namespace=kube-system", "daemonset/masq-cni", "--timeout=60s").CombinedOutput()
	if err != nil {
		about, _ := c.try("describe", "pods", "--namespace=kube-system")
		logs, _ := c.try("logs", "--namespace=kube-system", "daemonset/masq-cni", "--all-pods", "--all-containers", "--prefix")
		t.Fatalf("the DaemonSet is not ready: %v\n%s\n%s\n%s", err, out, about, logs)
	}
}

// conflists returns the files that configure CNI on the node, each after its name.
func (n *node) conflists(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	dir := n.path("/etc/cni/net.d")
	for _, e := range assert.Must(os.ReadDir(dir))(t) {
		fmt.Fprintf(&b, "%s:\n%s\n", e.Name(), assert.Must(os.ReadFile(filepath.Join(dir, e.Name())))(t))
	}
	return b.String()
}

// configure sets the policy of the nodes.
func (c *cluster) configure(t testing.TB, policy string) {
	t.Helper()
	c.apply(t, text(t, object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"name": "masq-cni-config", "namespace": "kube-system"},
		"data":     object{"config": policy},
	}))
}
