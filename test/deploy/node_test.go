package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// served is the address at which masqd listens in the node.
const served = "127.0.0.1:9468"

// node is a node with a masqd that exports all metrics.
type node struct {
	*nstest.Topology
	t     *testing.T
	lab   *nstest.Lab
	dir   string
	masqd *nstest.Command
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, lab: nstest.New(t), dir: t.TempDir()}
	n.Topology = assert.Must(n.lab.Topology(nstest.Uplink{}))(t)
	n.configure("nonMasqueradeCIDRs: []\n")
	// An IPFIX collector that accepts everything.
	sink := assert.Must(n.Node.ListenUDP(netip.MustParseAddrPort("127.0.0.1:4739")))(t)
	t.Cleanup(func() { _ = sink.Close() })
	n.masqd = n.Node.Command(context.WithoutCancel(t.Context()), program("masqd"), "--listen", served,
		"--state-dir", n.file("state"), "--config", n.file("config"), "--attachment-metrics", "10", "--doctor-interval", "1s",
		"--nat-log", n.file("nat-log"), "--nat-log-ipfix", "127.0.0.1:4739")
	log := assert.Must(os.Create(n.file("masqd.log")))(t)
	t.Cleanup(func() {
		_ = log.Close()
		if t.Failed() {
			t.Logf("masqd said:\n%s", assert.Must(os.ReadFile(log.Name()))(t))
		}
	})
	n.masqd.Stderr = log
	assert.NoError(t, n.masqd.Start())
	return n
}

func program(name string) string { return filepath.Join(os.Getenv("MASQ_BIN"), name) }

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }

// configure writes masqd's configuration.
func (n *node) configure(text string) {
	n.t.Helper()
	fresh := n.file("config.fresh")
	assert.NoError(n.t, os.WriteFile(fresh, []byte(text), 0o600))
	assert.NoError(n.t, os.Rename(fresh, n.file("config")))
}

type keys map[string]any

// attach adds a pod on a network with additional keys.
func (n *node) attach(name string, more keys) *nstest.NS {
	n.t.Helper()
	pod := assert.Must(n.lab.Namespace(name))(n.t)
	conf := keys{
		"cniVersion": "1.0.0", "name": "pods", "type": "masq", "stateDir": n.file("state"),
		"ipam":               keys{"type": "host-local", "dataDir": n.file("leases"), "ranges": []any{[]any{keys{"subnet": "10.88.0.0/16"}}}},
		"nonMasqueradeCIDRs": []string{},
	}
	maps.Copy(conf, more)
	c := n.Node.Command(n.t.Context(), program("masq"))
	c.Env = []string{
		"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + name, "CNI_NETNS=" + pod.Path(), "CNI_IFNAME=eth0", "CNI_PATH=" + os.Getenv("MASQ_BIN"),
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + name,
	}
	c.Stdin = bytes.NewReader(assert.Must(json.Marshal(conf))(n.t))
	if out, err := c.CombinedOutput(); err != nil {
		n.t.Fatalf("ADD: %v\n%s", err, out)
	}
	return pod
}

// nft changes the rules as another program would.
func (n *node) nft(args ...string) {
	n.t.Helper()
	if out, err := n.Node.Command(n.t.Context(), "nft", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
}
