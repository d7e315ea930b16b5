package kube

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// node is a machine of the cluster that runs pods.
type node struct {
	*host
	c     *cluster
	wan   netip.Addr // address on the path to far
	group string
}

// node starts a node without a network plugin.
func (c *cluster) node(t testing.TB, name string, addrs []netip.Addr, wan netip.Addr) *node {
	t.Helper()
	n := &node{
		host: &host{r: c.room, name: name, addrs: addrs}, c: c, wan: wan,
		group: own() + "-" + name,
	}
	n.boot(t)
	return n
}

// boot turns the machine on and starts the programs of a node.
func (n *node) boot(t testing.TB) {
	t.Helper()
	n.on(t)
	assert.NoError(t, n.Forward())
	assert.NoError(t, n.Route(netip.MustParsePrefix("0.0.0.0/0"), routerAddrs[0]))
	assert.NoError(t, n.Route(netip.MustParsePrefix("::/0"), routerAddrs[1]))
	n.c.narrowLink(t, n.name, n.NS, n.wan)
	for i, a := range slices.Concat(insideAddrs, newsAddrs) {
		assert.NoError(t, n.Route(onLAN(a).Masked(), outsideAddrs[i%2]))
	}
	assert.NoError(t, makeGroups(n.group))

	n.write(t, "/etc/containerd.toml", n.c.version.conf)
	// containerd searches PATH for its shim first.
	n.start(t, "env", "PATH="+n.c.version.containerd+":"+os.Getenv("PATH"), "containerd", "--config", "/etc/containerd.toml", "--log-level", "warn")
	until(t, time.Minute, "containerd answers on "+n.name, func() error {
		_, err := n.ctr(t, "version")
		return err
	})
	n.load(t, podImage, n.c.podArchive(t))

	n.write(t, "/etc/resolv.conf", "")
	n.write(t, "/etc/kubelet.json", text(t, object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"x509":      object{"clientCAFile": n.c.pki.file("ca.crt")},
		},
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + n.group, "failCgroupV1": false,
		"failSwapOn": false, "enforceNodeAllocatable": []string{}, "oomScoreAdj": 0,
		"evictionHard": map[string]string{"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
		"resolvConf":   "/etc/resolv.conf", "volumePluginDir": "/var/lib/kubelet/volume-plugins",
	}))
	kubeconfig := n.c.pki.client(t, n.c.api, "system:node:"+n.name, "system:nodes")
	n.start(t, n.c.program("kubelet"), "--config=/etc/kubelet.json", "--kubeconfig="+kubeconfig,
		"--hostname-override="+n.name, "--node-ip="+fmt.Sprintf("%s,%s", n.addrs[0], n.addrs[1]))

	n.write(t, "/etc/kube-proxy.json", text(t, object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "nftables", "hostnameOverride": n.name, "clusterCIDR": podRanges,
		"clientConnection": object{"kubeconfig": n.c.pki.client(t, n.c.api, "system:kube-proxy")},
		"conntrack":        object{"maxPerCore": 0}, // keep the machine's limit
	}))
	n.start(t, n.c.program("kube-proxy"), "--config=/etc/kube-proxy.json")
}

// reboot turns the node off and on: only its disk survives.
func (n *node) reboot(t testing.TB) {
	t.Helper()
	n.off(t)
	assert.NoError(t, removeGroups(n.group))
	n.boot(t)
}

// write writes a file on the node.
func (n *node) write(t testing.TB, path, text string) {
	t.Helper()
	assert.NoError(t, os.MkdirAll(n.path(filepath.Dir(path)), 0o755))
	assert.NoError(t, os.WriteFile(n.path(path), []byte(text), 0o644))
}

// ctr runs containerd's client in the namespace of Kubernetes.
func (n *node) ctr(t testing.TB, args ...string) (string, error) {
	out, err := n.command(soon(t), filepath.Join(n.c.version.containerd, "ctr"), append([]string{"-n", "k8s.io"}, args...)...).Output()
	return string(out), err
}

// load imports an image on the node, unless it has the image.
func (n *node) load(t testing.TB, name, archive string) {
	t.Helper()
	have := assert.Must(n.ctr(t, "images", "ls", "-q"))(t)
	for line := range strings.Lines(have) {
		if strings.TrimSpace(line) == name {
			return
		}
	}
	assert.Must(n.ctr(t, "images", "import", archive))(t)
}

// routes adds routes to the pods of other nodes, as a cloud's network has.
func (n *node) routes(t testing.TB) {
	t.Helper()
	for _, other := range n.c.nodes {
		for i, p := range other.podRanges(t) {
			if other != n {
				assert.NoError(t, n.Route(p, other.addrs[i]))
			}
		}
	}
}

// podRanges returns the address ranges of the node's pods, by family.
func (n *node) podRanges(t testing.TB) (out []netip.Prefix) {
	t.Helper()
	until(t, time.Minute, n.name+" is registered and has ranges of addresses", func() error {
		out = nil
		list, err := n.c.try("get", "node", n.name, "-o", "jsonpath={.spec.podCIDRs[*]}")
		for p := range strings.FieldsSeq(list) {
			out = append(out, netip.MustParsePrefix(p))
		}
		if err == nil && len(out) != 2 {
			err = fmt.Errorf("its ranges are %q", list)
		}
		return err
	})
	return out
}

// suspend stops masqd until resume, and returns when all its threads have stopped.
func (n *node) suspend(t testing.TB) {
	t.Helper()
	n.output(t, "sh", "-c", `pkill -STOP -x masqd
		while for p in $(pgrep -x masqd); do cat /proc/$p/task/*/stat; done | grep -q ") [^T]"; do sleep 0.01; done`)
}

// resume continues masqd.
func (n *node) resume(t testing.TB) {
	t.Helper()
	n.output(t, "pkill", "-CONT", "-x", "masqd")
}
