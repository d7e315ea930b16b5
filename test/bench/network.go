package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/nstest"
)

type keys map[string]any

// network is a plugin with its configuration on one node.
type network struct {
	*node
	conf    keys
	program string
	path    string // CNI_PATH
}

// programs has the directories of the plugins.
type programs struct{ masq, peers string }

// network configures a plugin on a node. subnets are the ranges of host-local.
func (p programs) network(n *node, plugin string, subnets []string, more keys) *network {
	ranges := []any{}
	for _, s := range subnets {
		ranges = append(ranges, []any{keys{"subnet": s}})
	}
	conf := keys{
		"cniVersion": types100.ImplementedSpecVersion,
		"name":       "bench",
		"type":       plugin,
		"ipam":       keys{"type": "host-local", "dataDir": filepath.Join(n.dir, "leases"), "ranges": ranges},
	}
	dir := p.peers
	if plugin == "masq" {
		dir = p.masq
		conf["stateDir"] = filepath.Join(n.dir, "state")
	}
	maps.Copy(conf, more)
	return &network{n, conf, filepath.Join(dir, plugin), p.peers}
}

var (
	single = []string{"10.88.0.0/16"}
	dual   = []string{"10.88.0.0/16", "fd00:88::/64"}
)

func (p programs) masqOn(n *node, subnets []string) *network {
	return p.network(n, "masq", subnets, nil)
}

func (p programs) ptpOn(n *node, backend string) *network {
	return p.network(n, "ptp", single, keys{"ipMasq": true, "ipMasqBackend": backend})
}

func (p programs) floorOn(n *node) *network { return p.network(n, "floor", single, nil) }

// attachment is a container on a network.
type attachment struct {
	*network
	pod    *nstest.NS
	id     string
	result json.RawMessage
	fails  bool // its ADD must fail
}

func (n *network) attachment(pod *nstest.NS) *attachment {
	// As long as the IDs that runtimes use.
	return &attachment{network: n, pod: pod, id: fmt.Sprintf("%x", sha256.Sum256([]byte(pod.Name())))}
}

// attachments returns one attachment for each namespace.
func (n *network) attachments(pods []*nstest.NS) []*attachment {
	var out []*attachment
	for _, pod := range pods {
		out = append(out, n.attachment(pod))
	}
	return out
}

// address returns the container's address of the family of like.
func (a *attachment) address(like netip.Addr) (netip.Addr, error) {
	r, err := types100.NewResult(a.result)
	if err != nil {
		return netip.Addr{}, err
	}
	result, err := types100.NewResultFromResult(r)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range result.IPs {
		if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok && addr.Unmap().Is4() == like.Is4() {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the container has no address like %s", like)
}

// gatewayMAC returns the MAC of the node's end of the link.
func (a *attachment) gatewayMAC() (net.HardwareAddr, error) {
	var r types100.Result
	if err := json.Unmarshal(a.result, &r); err != nil {
		return nil, err
	}
	for _, i := range r.Interfaces {
		if i.Sandbox == "" {
			return net.ParseMAC(i.Mac)
		}
	}
	return nil, errors.New("the result names no interface of the node")
}
