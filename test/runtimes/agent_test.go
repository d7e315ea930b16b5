package runtimes

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/test/assert"
)

// inside is an address of the server within ip-masq-agent's nonMasqueradeCIDRs.
var inside = netip.MustParseAddr("10.1.0.2")

// mount writes a ConfigMap as the kubelet mounts it for a DaemonSet of ip-masq-agent: the key
// config is the file ip-masq-agent. A change replaces the link ..data.
func (n *node) mount(t *testing.T, manifest string) {
	t.Helper()
	var is struct{ Data map[string]string }
	assert.NoError(t, yaml.Unmarshal([]byte(manifest), &is))
	text, has := is.Data["config"]
	if !has {
		t.Fatalf("no key config in\n%s", manifest)
	}
	n.must("mkdir -p /etc/config")
	version := assert.Must(os.MkdirTemp(n.file("/etc/config"), "..version"))(t)
	name := version[strings.LastIndex(version, "/")+1:]
	n.write("/etc/config/"+name+"/ip-masq-agent", text)
	n.must("cd /etc/config && ln -s %s ..tmp && mv -T ..tmp ..data && ln -sf ..data/ip-masq-agent ip-masq-agent", name)
}

// masqd replaces ip-masq-agent with the same ConfigMap, on a node with pods of ptp.
func TestInPlaceOfIPMasqAgent(t *testing.T) {
	manifest := string(assert.Must(os.ReadFile("testdata/ip-masq-agent.yaml"))(t))
	for _, r := range releases(t) {
		t.Run(r.name, func(t *testing.T) {
			n := newNode(t)
			assert.NoError(t, n.Node.Forward())
			assert.NoError(t, n.Server.AddAddress("eth0", netip.PrefixFrom(inside, 32)))
			assert.NoError(t, n.Router.Route(netip.PrefixFrom(inside, 32), n.V4.Server))
			n.mount(t, manifest)
			c := n.containerd(r)
			c.network(network{"net", []keys{ptp}})
			a := c.sandbox("a")

			// seen compares what the server sees of a pod at its two addresses.
			seen := func(s *sandbox, when string, outside, within netip.Addr) {
				t.Helper()
				if from := n.source(s, n.V4.Server, when); from != outside {
					t.Errorf("%s: the server sees %s, not %s", when, from, outside)
				}
				if from := n.source(s, inside, when+", within"); from != within {
					t.Errorf("%s: within nonMasqueradeCIDRs the server sees %s, not %s", when, from, within)
				}
			}
			before := n.traces()
			seen(a, "without masqd", a.addrs[0], a.addrs[0])

			d := n.masqd("--source-cidrs", subnet4, "--masq-chain=IP-MASQ", "--nomasq-all-reserved-ranges", "--enable-ipv6=false")
			seen(a, "with masqd", n.V4.Node, a.addrs[0])
			b := c.sandbox("b")
			seen(b, "a pod made while masqd runs", n.V4.Node, b.addrs[0])
			b.remove()

			n.mount(t, strings.ReplaceAll(manifest, "- 10.0.0.0/8", "- "+n.V4.ServerNet.String()))
			until(t, "the edit has taken effect", func() bool { return n.source(a, inside, "edited") == n.V4.Node })
			seen(a, "after an edit", a.addrs[0], n.V4.Node)

			d.end(t, syscall.SIGTERM)
			seen(a, "when masqd has ended", a.addrs[0], n.V4.Node)
			n.must("masq-cni uninstall --force")
			seen(a, "when it is uninstalled", a.addrs[0], a.addrs[0])
			unchanged(t, "remaining", n.traces(), before)
			a.remove()
		})
	}
}
