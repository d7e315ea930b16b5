package runtimes

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// release is a release of containerd.
type release struct {
	name    string
	dir     string // directory of its programs, "" if they are on PATH
	version string // newest CNI version that it supports
	config  string
}

// releases are Debian's release and the newest one.
func releases(t testing.TB) []release {
	return []release{
		{name: "1.6", version: "1.0.0", config: `version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + image + `"
disable_apparmor = true
restrict_oom_score_adj = true
`},
		{name: "2", version: "1.1.0", dir: built(t, "MASQ_CONTAINERD2"), config: `version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "` + image + `"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = true
`},
	}
}

// containerd is a running containerd, with a client that calls it as the kubelet does.
type containerd struct {
	*node
	release
	service *service
	cri     runtimeapi.RuntimeServiceClient
}

const socket = "/run/containerd/containerd.sock"

// containerd starts a release with the image of pod.
func (n *node) containerd(r release) *containerd {
	n.t.Helper()
	if r.dir != "" {
		n.path = r.dir + ":" + n.path
	}
	n.write("/etc/containerd/config.toml", r.config)
	often := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}
	conn := assert.Must(grpc.NewClient("unix://"+n.file(socket),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{Backoff: often})))(n.t)
	n.t.Cleanup(func() { _ = conn.Close() })
	c := &containerd{node: n, release: r, cri: runtimeapi.NewRuntimeServiceClient(conn)}
	c.start()
	archive := filepath.Join(n.t.TempDir(), "pod.tar")
	packImage(n.t, archive)
	n.must("ctr --namespace k8s.io images import %s", archive)
	return c
}

func (c *containerd) start() {
	c.t.Helper()
	c.service = c.serve("containerd", "containerd --log-level warn")
	until(c.t, "containerd answers", func() bool {
		_, err := c.cri.Version(soon(c.t), &runtimeapi.VersionRequest{})
		return err == nil
	})
}

func (c *containerd) restart(sig syscall.Signal) {
	c.t.Helper()
	c.service.end(c.t, sig)
	c.start()
}

// conflist is the file of the only network that the tests configure for containerd.
const conflist = "/etc/cni/net.d/10-pods.conflist"

// network gives the node a network and waits until containerd has read it.
func (c *containerd) network(list network) {
	c.t.Helper()
	text := list.text(c.t, c.version)
	c.write(conflist, text)
	c.reads(text)
}

// reads waits until containerd has read a conflist.
func (c *containerd) reads(text string) {
	c.t.Helper()
	until(c.t, "containerd has read "+text, func() bool {
		r, err := c.cri.Status(soon(c.t), &runtimeapi.StatusRequest{Verbose: true})
		if err != nil {
			return false
		}
		var has struct {
			Networks []struct{ Config struct{ Source string } }
		}
		err = json.Unmarshal([]byte(r.GetInfo()["cniconfig"]), &has)
		return err == nil && len(has.Networks) > 0 && has.Networks[len(has.Networks)-1].Config.Source == text
	})
}
