package e2e

import (
	"maps"
	"net/netip"

	"github.com/masq-cni/masq-cni/test/assert"
)

// The conditions that docs/inspect.md assumes, and the proofs of its commands.
func init() {
	before["docs/inspect.md"] = (*docNode).inspected
	maps.Copy(proofs, map[string]proof{
		"masq-cni inspect":                                                     runs{},
		"masq-cni inspect pods":                                                runs{},
		"masq-cni inspect pod shop/web":                                        runs{},
		"masq-cni inspect flows --src 192.0.2.2 --dport 443":                   runs{},
		"masq-cni inspect flows --pod shop/web --sort bytes --limit 1 -o json": runs{},
		"masq-cni inspect helpers":                                             runs{},
		"masq-cni inspect rules":                                               runs{},
		"masq-cni inspect drift":                                               runs{},
		"nft flush chain inet masq invalid":                                    runs{},
		"masq-cni inspect drift || echo $?":                                    runs{},
		"source <(masq-cni completion bash)":                                   runs{},
	})
}

// inspected adds a pod that has exchanged packets with a server.
func (m *docNode) inspected() {
	m.t.Helper()
	m.must("install -D -m 755 -t /opt/cni/bin bin/masq; install -D -m 755 -t /usr/local/bin bin/masqd bin/masq-cni")
	m.network()
	m.must("sysctl -q -w net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1")
	m.must("ip netns add web && CNI_ARGS='K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;IgnoreUnknown=1' CNI_PATH=/opt/cni/bin cnitool add pods /run/netns/web")
	server := assert.Must(m.Server.ServeTCP(netip.AddrPortFrom(m.V4.Server, 443)))(m.t)
	m.must("ip netns exec web bash -c 'exec 3<>/dev/tcp/" + server.Addr().Addr().String() + "/443; echo GET 300000 >&3; cat <&3 >/dev/null'")
	assert.NoError(m.t, m.soon("masq-cni inspect flows --state time_wait -o json | grep shop"))
}
