package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/sockets"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

func add(args *skel.CmdArgs) error {
	switch own, err := ns.CheckNetNS(args.Netns); {
	case err != nil:
		return err
	case own:
		return types.NewError(types.ErrInvalidNetNS, "the network namespace is the node's own", "CNI_NETNS: "+masq.Quote(args.Netns)+": give the container's")
	}
	if err := cniconf.ValidateInterface(args.IfName); err != nil {
		return err
	}
	conf, err := loadToAdd(args)
	if err != nil {
		return err
	}
	if conf.IPAMType == "" && !conf.Chained() {
		return types.NewError(types.ErrInvalidNetworkConfig, "neither ipam nor prevResult is given",
			"ipam: missing: name an IPAM plugin, or put masq after a plugin that makes the link")
	}
	n, err := openNode(conf.StateDir)
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.hasDaemonHelpers(codeRules, conf); err != nil {
		return err
	}
	rec := store.Record{
		Attachment: masq.Attachment{
			Key: masq.Key{Network: conf.Name, ContainerID: args.ContainerID, Interface: args.IfName},
			Pod: conf.Pod,
		},
		Chained: conf.Chained(),
		NetNS:   args.Netns,
		IPAM:    conf.IPAMType,
		Created: time.Now().UTC(),
	}
	if len(args.Path) <= unix.PathMax {
		rec.CNIPath = args.Path
	}
	if own := veth.OwnNetNS(); own != nil {
		rec.Evidence = &masq.Evidence{Node: own} // in case ADD does not finish
	}
	if conf.Chained() {
		return n.addChained(conf, rec, args)
	}
	return n.addLink(conf, rec, args)
}

// begin writes the record that announces the attachment. Before that, it removes what a
// killed ADD, or a container without a DEL, left under the same key. fresh reports whether
// nothing was left.
func (n *node) begin(rec store.Record, leases ipamPlugin) (fresh bool, err error) {
	old, found, err := n.records.Get(rec.Key)
	switch {
	case err != nil:
		// Without a readable record, the parts of the attachment are found by the comments of
		// map elements and the link's alias.
		old, found = store.Record{Attachment: masq.Attachment{Key: rec.Key}, Chained: rec.Chained}, true
		live, errLink := n.links.Find(hostLink(old))
		if errLink == nil && live != "" {
			return false, types.NewError(codeLink, fmt.Sprintf("%s is attached already", rec.Key),
				"interface "+live+" is its link, and its record cannot be read: "+err.Error()+"; call DEL first")
		}
	case found && old.Ready && !old.Chained:
		live, err := n.links.Find(hostLink(old))
		if err != nil {
			return false, failed(codeLink, "cannot look up the link", err)
		}
		if live != "" {
			return false, types.NewError(codeLink, fmt.Sprintf("%s is attached already", rec.Key), "interface "+live+" is its link; call DEL first")
		}
	}
	if found && (!old.Ready || !old.Chained) {
		if err := n.release(old, leases); err != nil {
			return false, err
		}
	}
	return !found, failed(codeState, "cannot write the record", n.records.Put(rec))
}

// addLink is ADD in main mode, which makes the link.
func (n *node) addLink(conf *cniconf.Conf, rec store.Record, args *skel.CmdArgs) (err error) {
	leases := ipamFor(conf.IPAMType, args)
	fresh, err := n.begin(rec, leases)
	if err != nil {
		return err
	}
	var made parts
	defer func() {
		if err != nil {
			err = join(err, n.remove(rec, leases, made))
		}
	}()
	result, err := leases.lease(fresh)
	if err != nil {
		leases = nil // no lease to release
		return failed(codeIPAM, "cannot lease addresses", err)
	}
	prefixes, err := prefixesOf(result.IPs)
	if err != nil {
		return failed(codeIPAM, "the IPAM plugin gave no usable addresses", err)
	}
	rec.Addresses = addrs(prefixes)
	if rec.Policy, err = n.policyFor(conf, prefixes); err != nil {
		return err
	}
	if err := n.allowsEgress(conf, rec.Policy, args); err != nil {
		return err
	}
	rec.SpoofCheck = conf.SpoofCheck && rec.Policy != nil
	if err := n.hasEgress(rec.Policy, rec.Addresses); err != nil {
		return err
	}
	rec.MTU = conf.MTU
	if rec.MTU == 0 {
		if rec.MTU, err = n.links.UplinkMTU(); err != nil {
			return failed(codeLink, "cannot find the uplink's MTU", err)
		}
	}
	rec.MTUProbing = conf.MTUProbing
	routes, err := routesOf(result.Routes, rec.MTU)
	if err != nil {
		return failed(codeIPAM, "the IPAM plugin gave no usable routes", err)
	}
	rec.Prefixes, rec.Routes = prefixes, routes
	if err := n.records.Put(rec); err != nil {
		return failed(codeState, "cannot write the record", err)
	}
	resolver := keepLive{n, conf, args}
	// Before the link is made, since its routes would take packets of another attachment.
	if err := resolver.resolveElements(&rec); err != nil {
		return err
	}
	pair := veth.PairOf(rec.Attachment, rec.Link())
	link, err := n.addLinkResolving(pair, &rec, resolver)
	if err != nil {
		return failed(codeLink, "cannot make the link", err)
	}
	made.link, made.rules = true, true
	if err := n.addRules(&rec, resolver); err != nil {
		return err
	}
	rec.HostMAC = link.HostMAC.String()
	setEvidence(&rec)(n.links.EvidenceOfPair(pair, link))
	rec.Ready = true
	if err := n.records.Put(rec); err != nil {
		return failed(codeState, "cannot write the record", err)
	}
	_ = n.records.DeleteRefusal(rec.Key, rec.Pod) // on an error, the refusal is shown for up to an hour
	return types.PrintResult(addLinkToResult(result, link, args), conf.CNIVersion)
}

// addChained is ADD in chained mode, with the addresses that the previous plugin assigned.
func (n *node) addChained(conf *cniconf.Conf, rec store.Record, args *skel.CmdArgs) (err error) {
	prefixes, err := addressesOf(conf.PrevResult, args, true)
	if err != nil {
		return err
	}
	rec.Addresses = addrs(prefixes)
	setEvidence(&rec)(n.links.EvidenceOf(args.Netns, args.IfName, nodeInterfaces(conf.PrevResult)))
	if rec.Policy, err = n.policyFor(conf, prefixes); err != nil {
		return err
	}
	if err := n.allowsEgress(conf, rec.Policy, args); err != nil {
		return err
	}
	if err := n.hasEgress(rec.Policy, rec.Addresses); err != nil {
		return err
	}
	if _, err := n.begin(rec, nil); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = join(err, n.release(rec, nil))
		}
	}()
	if err := n.addRules(&rec, takeover{n}); err != nil {
		return err
	}
	rec.Ready = true
	if err := n.records.Put(rec); err != nil {
		return failed(codeState, "cannot write the record", err)
	}
	_ = n.records.DeleteRefusal(rec.Key, rec.Pod) // on an error, the refusal is shown for up to an hour
	return printPrevResult(args.StdinData)
}

// addRules adds an attachment to the rules of its policy.
func (n *node) addRules(rec *store.Record, c conflicts) error {
	if rec.Policy == nil {
		return nil
	}
	n.rules.Services = func() ([]masq.PortRange, error) {
		ports, err := sockets.Services(rec.Policy.ToPorts)
		if err == nil {
			var published []masq.PortRange
			published, err = n.rules.Published()
			ports = append(ports, published...)
		}
		if err != nil {
			_, _ = fmt.Fprintf(os.Stderr, "warning: cannot list the ports of the node's services: %v: containers may leave with a port of a service that was started since; see net.ipv4.ip_local_reserved_ports\n", err)
		}
		return ports, nil
	}
	err := n.rules.Add(rec.Attachment, n.links.HasAddress,
		func() ([]masq.Attachment, error) { return n.allWith(rec, c) },
		func(identity string) error { return c.resolve(rec, identity) })
	// Without the helper's NAT module the kernel accepts the rule, and does not translate the
	// payload.
	if err == nil && n.rules.HasNAT(*rec.Policy) {
		return nil
	}
	if _, is := errors.AsType[*types.Error](err); is { // from conflicts
		return err
	}
	if lacking := n.hasHelpers(codeRules, rec.Policy); lacking != nil {
		return lacking
	}
	return failed(codeRules, "cannot make the rules", err)
}

// allWith returns the ready attachments, with rec last: if several have the same address,
// the last one gets it.
func (n *node) allWith(rec *store.Record, c conflicts) ([]masq.Attachment, error) {
	others, err := n.attachments()
	if err == nil && slices.ContainsFunc(others, func(o masq.Attachment) bool { return o.Key != rec.Key && shareAddress(o, rec.Attachment) }) {
		if err := c.resolve(rec, ""); err != nil {
			return nil, err
		}
		others, err = n.attachments()
	}
	return append(others, rec.Attachment), err
}

// printPrevResult prints prevResult unchanged, byte for byte.
func printPrevResult(stdin []byte) error {
	var conf struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, "cannot read prevResult", err.Error())
	}
	_, err := os.Stdout.Write(conf.PrevResult)
	return failed(types.ErrIOFailure, "cannot print the result", err)
}

// prefixesOf returns the addresses of a result, with their prefix lengths.
func prefixesOf(ips []*types100.IPConfig) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, ip := range ips {
		if ip == nil {
			return nil, errors.New("an address is null")
		}
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		bits, size := ip.Address.Mask.Size()
		a = a.Unmap()
		if size == 128 && a.Is4() {
			bits -= 96
		}
		p := netip.PrefixFrom(a, bits)
		if !ok || size == 0 || !p.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return nil, fmt.Errorf("%s cannot be the address of an interface", ip.Address.String())
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, errors.New("the result has no addresses")
	}
	return out, nil
}

// addLinkToResult adds the link to the result of IPAM.
func addLinkToResult(result *types100.Result, link veth.Link, args *skel.CmdArgs) *types100.Result {
	result.Interfaces = []*types100.Interface{
		{Name: link.HostName, Mac: link.HostMAC.String(), Mtu: link.MTU},
		{Name: args.IfName, Mac: link.MAC.String(), Mtu: link.MTU, Sandbox: args.Netns},
	}
	routed := map[masq.Family]bool{}
	for _, r := range result.Routes {
		f := familyOf(r.Dst.IP.To4() != nil)
		routed[f] = true
		// The link has one other end, so a configured gateway has no effect.
		r.GW = link.Gateway(f).AsSlice()
	}
	for _, ip := range result.IPs {
		ip.Interface = new(1)
		f := familyOf(ip.Address.IP.To4() != nil)
		ip.Gateway = link.Gateway(f).AsSlice()
		if !routed[f] {
			routed[f] = true
			dst := veth.DefaultRoute(f)
			result.Routes = append(result.Routes, &types.Route{Dst: ipNet(dst), GW: ip.Gateway})
		}
	}
	return result
}
