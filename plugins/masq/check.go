package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// check compares an attachment with what ADD made: its lease, both ends of its link, its
// addresses and routes, its rules and its elements.
func check(args *skel.CmdArgs) error {
	conf, err := cniconf.Load(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	if conf.PrevResult == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "CHECK needs the result of ADD", "prevResult: missing")
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return err
	}
	defer n.close()
	prefixes, err := addressesOf(conf.PrevResult, args, conf.Chained())
	if err != nil {
		return err
	}
	a := masq.Attachment{
		Key:        masq.Key{Network: conf.Name, ContainerID: args.ContainerID, Interface: args.IfName},
		Addresses:  addrs(prefixes),
		SpoofCheck: conf.SpoofCheck && !conf.Chained(),
	}
	if a.Policy, err = n.policyFor(conf, prefixes); err != nil {
		return err
	}
	a.SpoofCheck = a.SpoofCheck && a.Policy != nil

	rec, found, err := n.records.Get(a.Key)
	if err != nil {
		return failed(codeState, "cannot read the record", err)
	}
	if !found || !rec.Ready {
		return types.NewError(codeCheck, "there is no record of "+a.Identity(), "directory "+n.records.Dir()+": ADD did not finish, or the record was removed")
	}
	var wrong []string
	var differences []compare.Difference
	if !conf.Chained() {
		if err := ipamFor(conf.IPAMType, args).check(rec.Addresses); err != nil {
			wrong = append(wrong, "lease: "+err.Error())
		}
		// Addresses are compared with prevResult. Routes are compared with the record, if it
		// has them: a result of CNI 0.2.0 does not have their attributes.
		link := rec.Link()
		if len(link.Prefixes) == 0 {
			if link.Routes, err = routesOf(conf.PrevResult.Routes, rec.MTU); err != nil {
				return types.NewError(types.ErrInvalidNetworkConfig, "prevResult has unusable routes", "prevResult: "+err.Error())
			}
		}
		link.NetNS, link.Prefixes = args.Netns, prefixes
		if differences, err = compare.Link(n.links, veth.PairOf(a, link)); err != nil {
			return failed(codeLink, "cannot compare the link", err)
		}
	}
	rules, err := compare.Policy(n.rules, a, n.links.HasAddress)
	if err != nil {
		return failed(codeRules, "cannot read the rules", err)
	}
	for _, d := range append(differences, rules...) {
		wrong = append(wrong, d.String())
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		wrong = slices.Compact(wrong)
		return types.NewError(codeCheck, fmt.Sprintf("%s is not as ADD left it; differences: %d", a.Identity(), len(wrong)), strings.Join(wrong, "\n"))
	}
	return nil
}
