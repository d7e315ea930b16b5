package e2e

import (
	"maps"
)

// The conditions that docs/install.md and docs/kubectl.md assume, and the proofs of their
// commands.
func init() {
	before["docs/install.md"] = func(m *docNode) {
		m.write("/etc/cni/net.d/50-pods.conflist", bridged)
	}
	after["docs/install.md"] = func(m *docNode) {
		m.must("! ls /opt/cni/bin/masq && ! ls -d /run/masq-cni && ls /etc/cni/net.d | grep -x 50-pods.conflist && ! ls /etc/cni/net.d | grep -v 50-pods.conflist")
		m.must("! grep masq /etc/cni/net.d/50-pods.conflist")
	}
	maps.Copy(proofs, map[string]proof{
		"install -D -m 755 -t /usr/local/bin bin/masq bin/masqd bin/masq-cni": runs{},
		"masq-cni install --ready-url ''":                                     runs{says: "masq inserted", then: `grep -A 2 '"masq"' /etc/cni/net.d/50-pods.conflist && [ -x /opt/cni/bin/masq ]`},
		"masq-cni install --ready-url '' --mode network --pod-cidr 10.244.1.0/24,fd00:1::/64": runs{
			says: "network of masq written",
			then: "ip netns add web && CNI_PATH=/opt/cni/bin cnitool add masq-cni /run/netns/web && CNI_PATH=/opt/cni/bin cnitool del masq-cni /run/netns/web && ip netns del web",
		},
		"masq-cni uninstall --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d": runs{says: "removed: /opt/cni/bin/masq"},
		"install -D -m 755 -t /usr/local/bin bin/kubectl-masq":                runs{then: "kubectl-masq --version"},
		"ln -s kubectl-masq /usr/local/bin/kubectl_complete-masq":             runs{then: "PATH=/usr/local/bin kubectl_complete-masq inspect pod '' 2>&1 | grep 'kubectl is not on PATH'"},
	})
}

// bridged is a network of another plugin.
const bridged = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`
