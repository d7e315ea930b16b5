package main

import (
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// statusOfUplinks reports IPv6 uplinks without a global address: masqueraded packets
// leave with a link-local source there, and no answer from beyond the link comes back.
// A network that has IPv4 too is warned of: ADD works, and IPv4 does.
func (n *node) statusOfUplinks(conf *cniconf.Conf, args *skel.CmdArgs) error {
	local, is := lessorFor(conf.IPAMType, args).(hostLocal)
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
			return nil // packets get that one
		}
	}
	uplinks, err := n.links.LinkLocalUplinks()
	if err != nil || len(uplinks) == 0 {
		return unavailable(err)
	}
	names := strings.Join(uplinks, ", ")
	if leases.HasIPv4() {
		warn("STATUS: uplink %s has no global IPv6 address: IPv6 packets of containers leave with a link-local source (fe80::) and get no answer; give the node a global address, or name one in snatAddresses", names)
		return nil
	}
	return types.NewError(codeUnavailableLimited, "uplink "+names+" has no global IPv6 address: packets of containers leave with a link-local source (fe80::) and get no answer",
		"give the node a global IPv6 address, on "+names+" or on lo, or name one in snatAddresses")
}
