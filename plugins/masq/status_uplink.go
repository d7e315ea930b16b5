package main

import (
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// statusOfUplinks reports IPv6 uplinks without a global address: masqueraded packets leave
// with a link-local source there, and no replies come from beyond the link. If the network
// also has IPv4, this is only a warning: ADD and IPv4 work.
func (n *node) statusOfUplinks(conf *cniconf.Conf, args *skel.CmdArgs) error {
	local, is := ipamFor(conf.IPAMType, args).(hostLocal)
	if !is || !conf.IPMasq {
		return nil
	}
	leases, err := local.open()
	if err != nil || !leases.HasIPv6() {
		return unavailable(err)
	}
	policy := &conf.Policy
	if !conf.PolicyNamed {
		if node, err := n.records.Node(); err == nil && node != nil {
			policy = &node.Policy
		}
	}
	for _, a := range policy.SNATAddresses {
		if masq.FamilyOf(a) == masq.IPv6 {
			return nil // packets leave with this address
		}
	}
	uplinks, err := n.links.LinkLocalUplinks()
	if err != nil || len(uplinks) == 0 {
		return unavailable(err)
	}
	names := strings.Join(uplinks, ", ")
	if leases.HasIPv4() {
		warn("STATUS: uplink %s has no global IPv6 address: IPv6 packets of containers leave with a link-local source (fe80::) and get no reply; add a global address to the node, or list one in snatAddresses", names)
		return nil
	}
	return types.NewError(codeUnavailableLimited, "uplink "+names+" has no global IPv6 address: packets of containers leave with a link-local source (fe80::) and get no reply",
		"add a global IPv6 address to "+names+" or to lo, or list one in snatAddresses")
}
