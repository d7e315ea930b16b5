package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	podRanges     = "10.244.0.0/16,fd00:244::/48"
	serviceRanges = "10.96.0.0/16,fd00:96::/112"
)

// cluster is a Kubernetes cluster of one version in a room.
type cluster struct {
	*room
	version version
	bin     string // directory with the Kubernetes programs
	pki     *pki
	admin   string // kubeconfig of the administrator

	api     string
	control *host
	nodes   []*node
}

// newCluster starts a control plane and nodes without a network plugin.
func newCluster(t testing.TB, v version) *cluster {
	t.Helper()
	c := &cluster{room: newRoom(t), version: v, bin: filepath.Join(needed(t, "MASQ_KUBE"), v.kube)}
	c.api = fmt.Sprintf("https://%s:6443", controlAddrs[0])
	dir := filepath.Join(c.dir, "pki")
	assert.NoError(t, os.Mkdir(dir, 0o700))
	c.pki = newPKI(t, dir)
	c.pki.server(t, "apiserver", "kubernetes.default.svc", "10.96.0.1", controlAddrs[0].String())
	c.admin = c.pki.client(t, c.api, "admin", "system:masters")

	c.control = c.host(t, "control", controlAddrs)
	c.startControl(t)
	for i, own := range nodeAddrs {
		c.nodes = append(c.nodes, c.node(t, fmt.Sprintf("n%d", i+1), own, wanAddrs[i]))
	}
	return c
}

// startControl starts the control plane, and waits for what pods need.
func (c *cluster) startControl(t testing.TB) {
	t.Helper()
	disk := filepath.Join(c.disks, "control")
	c.control.start(t, c.program("etcd"), "--data-dir", filepath.Join(disk, "etcd"), "--unsafe-no-fsync", "--log-level", "error")
	c.control.start(t, c.program("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+controlAddrs[0].String(), "--secure-port=6443",
		"--tls-cert-file="+c.pki.file("apiserver.crt"), "--tls-private-key-file="+c.pki.file("apiserver.key"),
		"--client-ca-file="+c.pki.file("ca.crt"), "--authorization-mode=Node,RBAC", "--allow-privileged",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.pki.file("ca.crt"), "--service-account-signing-key-file="+c.pki.file("ca.key"),
		"--service-cluster-ip-range="+serviceRanges,
		"--kubelet-client-certificate="+c.pki.file("admin.crt"), "--kubelet-client-key="+c.pki.file("admin.key"),
		"--kubelet-preferred-address-types=InternalIP")
	c.control.start(t, c.program("kube-controller-manager"), "--kubeconfig="+c.pki.client(t, c.api, "system:kube-controller-manager"),
		"--leader-elect=false", "--use-service-account-credentials", "--service-account-private-key-file="+c.pki.file("ca.key"),
		"--root-ca-file="+c.pki.file("ca.crt"), "--allocate-node-cidrs", "--cluster-cidr="+podRanges,
		"--service-cluster-ip-range="+serviceRanges)
	c.control.start(t, c.program("kube-scheduler"), "--kubeconfig="+c.pki.client(t, c.api, "system:kube-scheduler"), "--leader-elect=false")
	until(t, time.Minute, "the default service account exists", func() error {
		_, err := c.try("get", "serviceaccount", "default")
		return err
	})
}

func (c *cluster) program(name string) string { return filepath.Join(c.bin, name) }

// try runs kubectl outside the nodes.
func (c *cluster) try(args ...string) (string, error) {
	out, err := c.kubectl(c.t.Context(), args...).Output()
	return string(out), err
}

func (c *cluster) kubectl(ctx context.Context, args ...string) *nstest.Command {
	k := c.control.Command(ctx, c.program("kubectl"), args...)
	k.Env = append(os.Environ(), "KUBECONFIG="+c.admin, "HOME="+c.dir)
	return k
}

// do runs kubectl, which must succeed.
func (c *cluster) do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.kubectl(within(t, time.Minute), args...).Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// apply applies objects.
func (c *cluster) apply(t testing.TB, text string) {
	t.Helper()
	k := c.kubectl(within(t, time.Minute), "apply", "-f", "-")
	k.Stdin = strings.NewReader(text)
	if out, err := k.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s\n%s", err, out, text)
	}
}

// get reads a part of an object.
func (c *cluster) get(t testing.TB, jsonpath string, object ...string) string {
	t.Helper()
	return c.do(t, append([]string{"get", "-o", "jsonpath={" + jsonpath + "}"}, object...)...)
}

// ready waits for conditions, and logs the state of pods if they do not become true.
func (c *cluster) ready(t testing.TB, object ...string) {
	t.Helper()
	args := append([]string{"wait", "--for=condition=Ready", "--timeout=60s"}, object...)
	if out, err := c.kubectl(within(t, 2*time.Minute), args...).CombinedOutput(); err != nil {
		about, _ := c.try("describe", "pods,nodes", "-A")
		t.Fatalf("kubectl %s: %v\n%s\n%s", strings.Join(args, " "), err, out, about)
	}
}

// needed returns a directory that a variable of the Makefile names.
func needed(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(name)
	if dir == "" {
		t.Fatalf("%s is not set: run the tests by make", name)
	}
	return dir
}

// text returns v as JSON for kubectl.
func text(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	assert.NoError(t, json.NewEncoder(&b).Encode(v))
	return b.String()
}
