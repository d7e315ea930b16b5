package runtimes

import (
	"encoding/json"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/pluginconf"
)

// keys are the keys of a plugin's configuration.
type keys = pluginconf.Keys

// network is a list of plugins.
type network struct {
	name    string
	plugins []keys
}

func (n network) text(t testing.TB, version string) string {
	t.Helper()
	return string(assert.Must(json.Marshal(keys{"cniVersion": version, "name": n.name, "plugins": n.plugins}))(t))
}

// The subnets of pods.
const (
	subnet4 = "10.88.0.0/16"
	subnet6 = "fd00:88::/64"
)

// ipam is host-local with a range in each subnet.
func ipam(subnets ...string) keys {
	ranges, routes := []any{}, []any{keys{"dst": "0.0.0.0/0"}}
	for _, s := range subnets {
		ranges = append(ranges, []any{keys{"subnet": s}})
		if s == subnet6 {
			routes = append(routes, keys{"dst": "::/0"})
		}
	}
	return keys{"type": "host-local", "ranges": ranges, "routes": routes}
}

// The plugins. With IPv6, ptp and bridge would wait two seconds for duplicate address
// detection.
var (
	masq = keys{
		"type":               "masq",
		"nonMasqueradeCIDRs": []string{direct.String() + "/32"},
		"capabilities":       keys{"io.kubernetes.cri.pod-annotations": true},
	}
	alone  = masq.With(keys{"ipam": ipam(subnet4, subnet6)})
	ptp    = keys{"type": "ptp", "ipam": ipam(subnet4)}
	bridge = keys{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam(subnet4)}
)

// mode is a way to use masq. The control is the same network without masq.
type mode struct {
	name          string
	with, without network
}

// modes are all ways to use masq.
var modes = []mode{
	{"main", network{"net", []keys{alone}}, network{"control", []keys{alone.With(keys{"ipMasq": false})}}},
	{"ptp", network{"net", []keys{ptp, masq}}, network{"control", []keys{ptp}}},
	{"bridge", network{"net", []keys{bridge, masq}}, network{"control", []keys{bridge}}},
}
