package compare

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// links returns the differences that a test gives for each attachment.
type links struct{ node, container map[string]veth.Difference }

func (l links) Compare(pairs []veth.Pair) (out []veth.Difference, err error) {
	for _, p := range pairs {
		if d, ok := l.node[p.Identity]; ok {
			d.Identity = p.Identity
			out = append(out, d)
		}
	}
	return append(out, veth.Difference{Kind: veth.KindSetting, Reason: masq.Changed, Object: "net.ipv4.conf.uplink.forwarding", Have: "0", Want: "1"}), nil
}

func (l links) CompareContainer(p veth.Pair) (out []veth.Difference, err error) {
	if d, ok := l.container[p.Identity]; ok {
		d.Identity = p.Identity
		out = append(out, d)
	}
	return out, nil
}

func record(id string) store.Record {
	a := masq.Attachment{Key: masq.Key{Network: "n", ContainerID: id, Interface: "eth0"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}
	return store.Record{Attachment: a, Ready: true, NetNS: "/run/netns/" + id}
}

// TestRemovedContainers: a container is left out only if both its link and its namespace
// are missing. A missing path alone is not checked, and links of other plugins are not
// compared.
func TestRemovedContainers(t *testing.T) {
	noLink := veth.Difference{Kind: veth.KindInterface, Reason: masq.Missing}
	noPath := veth.Difference{Kind: veth.KindNamespace, Reason: masq.Missing}
	l := links{
		node:      map[string]veth.Difference{"n/gone/eth0": noLink, "n/lost/eth0": noLink, "n/chained/eth0": noLink},
		container: map[string]veth.Difference{"n/gone/eth0": noPath, "n/hidden/eth0": noPath},
	}
	chained := record("chained")
	chained.Chained = true
	all := []store.Record{record("gone"), record("lost"), record("hidden"), chained}
	node, err := NodeSide(l, all)
	if err != nil || len(node) != 2 || node[0].Identity != "n/lost/eth0" || node[1].Identity != "" {
		t.Errorf("node: %+v, %v", node, err)
	}
	container, err := ContainerSide(l, all)
	faults, notChecked := Split(container)
	if err != nil || len(faults) != 0 || len(notChecked) != 2 || notChecked[1].Identity != "n/hidden/eth0" || notChecked[1].Found == "" {
		t.Errorf("containers: %+v, %v", container, err)
	}
}
