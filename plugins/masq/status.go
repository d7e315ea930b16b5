package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// status returns an error if ADD would fail. The runtime calls it often, so its cost does not
// depend on the number of attachments.
func status(args *skel.CmdArgs) error {
	conf, err := cniconf.Load(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return unavailable(err)
	}
	defer n.close()
	if err := writable(conf.StateDir); err != nil {
		return types.NewError(codeUnavailable, "the records cannot be written", "stateDir: "+conf.StateDir+": "+err.Error())
	}
	if err := n.records.CheckSafe(); err != nil {
		return types.NewError(codeUnavailable, "the records are not safe", "stateDir: "+conf.StateDir+": "+err.Error())
	}
	n.warnOfDuplicates()
	if conf.IPMasq {
		if err := n.statusOfRules(conf); err != nil {
			return err
		}
	}
	if conf.IPAMType != "" {
		if err := ipamFor(conf.IPAMType, args).status(); err != nil {
			return unavailable(err)
		}
		if err := n.statusOfMTU(conf, args); err != nil {
			return err
		}
		if err := n.statusOfUplinks(conf, args); err != nil {
			return err
		}
	}
	return nil
}

// statusOfRules reports the cause if ADD could not make its rules, and damaged rules, with
// which packets leave untranslated until the next ADD or masqd repairs them.
func (n *node) statusOfRules(conf *cniconf.Conf) error {
	is, err := n.rules.Structure()
	if err != nil {
		return unavailable(err)
	}
	switch {
	case is.Owner != nil:
		return unavailable(is.Owner)
	case !is.InUse:
		// Without attachments the node has no records to read.
		all, err := n.attachments()
		if err != nil {
			return types.NewError(codeUnavailable, "the records cannot be read", err.Error())
		}
		for _, a := range all {
			if a.Policy == nil {
				continue
			}
			details := "table inet masq is missing; the next ADD or masqd restores it"
			if is.Exists {
				details = "maps policy4 and policy6 of table inet masq have no elements; masqd restores them"
			}
			return types.NewError(codeUnavailableLimited, "the rules of attachments are gone: "+a.Identity()+" and others have no way out", details)
		}
	case len(is.Faults) > 0:
		var details []string
		for _, f := range is.Faults {
			details = append(details, "table inet masq: "+f.String())
		}
		return types.NewError(codeUnavailableLimited, fmt.Sprintf("the rules of attachments are damaged; differences: %d", len(is.Faults)),
			strings.Join(append(details, "masqd restores it; without masqd, the next ADD of such a network does"), "\n"))
	}
	policy := &conf.Policy
	if !conf.PolicyNamed {
		node, err := n.records.Node()
		if err != nil {
			return types.NewError(codeUnavailable, "the node's policy cannot be read", err.Error())
		}
		if node != nil {
			policy = &node.Policy
		}
	}
	if err := n.hasHelpers(codeUnavailable, policy); err != nil {
		return unavailable(err)
	}
	if err := n.hasDaemonHelpers(codeUnavailable, conf); err != nil {
		return unavailable(err)
	}
	if err := n.hasEgress(policy, nil); err != nil {
		return unavailable(err)
	}
	return nil
}

// statusOfMTU reports an MTU that is too small for IPv6. Before ADD, the families are known
// only for host-local.
func (n *node) statusOfMTU(conf *cniconf.Conf, args *skel.CmdArgs) error {
	local, is := ipamFor(conf.IPAMType, args).(hostLocal)
	if !is || conf.MTU != 0 { // cniconf compares a configured MTU
		return nil
	}
	leases, err := local.open()
	if err != nil || !leases.HasIPv6() {
		return unavailable(err)
	}
	mtu, err := n.links.UplinkMTU()
	if err != nil || mtu >= veth.MinMTU6 {
		return unavailable(err)
	}
	return types.NewError(codeUnavailable, fmt.Sprintf("the uplink's MTU %d is below %d, the minimum for IPv6", mtu, veth.MinMTU6),
		"ipam.ranges: has IPv6: raise the MTU of the uplink, set mtu to the MTU of the path, or remove the IPv6 ranges")
}

// warnOfDuplicates warns of addresses that a previous plugin assigned twice. ADD succeeds
// nevertheless.
func (n *node) warnOfDuplicates() {
	duplicates, err := n.records.MarkedDuplicates()
	for _, d := range duplicates {
		warn("STATUS: %s: packets to it reach only one of them; give their networks subnets that do not overlap, or delete one of them", d)
	}
	if err != nil {
		warn("STATUS: duplicate addresses cannot be looked up: %s", err)
	}
}

// unavailable returns the error with codeUnavailable.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*types.Error](err); ok {
		return types.NewError(codeUnavailable, known.Msg, known.Details)
	}
	return types.NewError(codeUnavailable, err.Error(), "")
}
