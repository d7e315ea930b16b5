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
)

// manifests is where what is applied comes from.
const manifests = "../../deploy"

// load gives all nodes the image that make image has built, by the name that the
// manifests have for it.
func (c *cluster) load(t testing.TB) {
	t.Helper()
	plain := must(os.ReadFile(filepath.Join(manifests, "masq-cni.yaml")))(t)
	want := regexp.MustCompile(`(?m)^\s*image: (\S+)$`).FindSubmatch(plain)
	if want == nil {
		t.Fatal("the manifest names no image")
	}
	archives := must(filepath.Glob(filepath.Join(needed(t, "MASQ_DIST"), "masq-cni-*-linux-"+runtime.GOARCH+".tar")))(t)
	if len(archives) != 1 {
		t.Fatalf("there are images %q, want one: make image", archives)
	}
	for _, n := range c.nodes {
		must(n.ctr(t, "images", "import", archives[0]))(t)
		have := must(n.ctr(t, "images", "ls", "-q"))(t)
		name := regexp.MustCompile(`(?m)^\S*/masq-cni:\S+`).FindString(have)
		if name != string(want[1]) {
			must(n.ctr(t, "images", "tag", "--force", name, string(want[1])))(t)
		}
	}
}

// installed waits until masq is on every node.
func (c *cluster) installed(t testing.TB) {
	t.Helper()
	c.rollout(t)
	for _, n := range c.nodes {
		until(t, 30*time.Second, "masq is in the conflist of "+n.name, func() error {
			if all := n.conflists(t); !strings.Contains(all, `"masq"`) {
				return fmt.Errorf("it says\n%s", all)
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

// conflists are the files that configure CNI on the node, each below its name.
func (n *node) conflists(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	dir := n.path("/etc/cni/net.d")
	for _, e := range must(os.ReadDir(dir))(t) {
		fmt.Fprintf(&b, "%s:\n%s\n", e.Name(), must(os.ReadFile(filepath.Join(dir, e.Name())))(t))
	}
	return b.String()
}

// configure gives the nodes a policy.
func (c *cluster) configure(t testing.TB, policy string) {
	t.Helper()
	c.apply(t, text(t, object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"name": "masq-cni-config", "namespace": "kube-system"},
		"data":     object{"config": policy},
	}))
}
