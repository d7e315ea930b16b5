package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// node holds the links, rules and records of the network namespace in which the plugin was
// started.
type node struct {
	links   *veth.Conn
	rules   *nft.Conn
	records *store.Records
}

func openNode(stateDir string) (n *node, err error) {
	n = &node{}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.records, err = store.Open(stateDir); err != nil {
		return nil, failed(codeState, "cannot open the records", err)
	}
	if n.rules, err = nft.Open(); err != nil {
		return nil, failed(codeRules, "cannot open a netlink socket for nftables", err)
	}
	if n.links, err = veth.Open(); err != nil {
		return nil, failed(codeLink, "cannot open a netlink socket for links", err)
	}
	return n, nil
}

// close closes the sockets.
func (n *node) close() {
	if n.links != nil {
		_ = n.links.Close()
	}
	if n.rules != nil {
		_ = n.rules.Close()
	}
}

// attachments returns the ready attachments. It omits attachments that other processes are
// adding or removing, and attachments with unreadable records. Rules of unreadable records
// stay in the kernel, unless the whole table is made again.
func (n *node) attachments() ([]masq.Attachment, error) {
	records, err := n.records.All()
	unreadable := store.ReadErrors(err)
	if err != nil && len(unreadable) == 0 {
		return nil, err
	}
	for _, e := range unreadable {
		warn("a record cannot be read, and its attachment is omitted: %v", e)
	}
	policy, err := n.records.Node()
	if err != nil {
		warn("attachments get the node's policy as it was at their ADD: %v", err)
	}
	var out []masq.Attachment
	for _, r := range records {
		if !r.Ready {
			continue
		}
		if r.Policy != nil && r.Policy.Node && policy != nil {
			p := policy.For(*r.Policy)
			r.Policy = &p
		}
		out = append(out, r.Attachment)
	}
	return out, nil
}

// policyFor returns the policy of an attachment: its network's or, if the network has none,
// the node's.
func (n *node) policyFor(conf *cniconf.Conf, prefixes []netip.Prefix) (*masq.Policy, error) {
	p, err := conf.PolicyFor(prefixes)
	if err != nil || p == nil {
		return p, err
	}
	if p.LocalMSSClamps, err = n.records.MSSClamps(); err != nil {
		warn("the local MSS clamps do not apply: %s", err)
	}
	if conf.PolicyNamed {
		return p, nil
	}
	p.Node = true
	policy, err := n.records.Node()
	if err != nil {
		return nil, failed(codeState, "cannot read the node's policy", err)
	}
	if policy != nil {
		*p = policy.For(*p)
	}
	return p, nil
}

// hasEgress returns an error if the node has none of a policy's egress addresses of a
// family. If it has some of them, these are used, and hasEgress writes a warning. Only the
// families of the attachment's addresses are compared; nil means both.
func (n *node) hasEgress(p *masq.Policy, addresses []netip.Addr) error {
	if p == nil {
		return nil
	}
	egress, err := ruleset.EgressOf(ruleset.NamedEgress([]masq.Attachment{{Policy: p}}, ruleset.Sources{}), n.links.HasAddress)
	if err != nil {
		return failed(codeLink, "cannot look up the node's addresses", err)
	}
	inUse := map[masq.Family]bool{masq.IPv4: addresses == nil, masq.IPv6: addresses == nil}
	for _, a := range addresses {
		inUse[masq.FamilyOf(a)] = true
	}
	var missing []string
	refused := false
	for _, m := range egress.Missing(*p, inUse) {
		missing = append(missing, m.Address.String())
		refused = refused || m.Dropped
	}
	all := strings.Join(missing, ", ")
	switch {
	case len(missing) == 0:
		return nil
	case !refused:
		_, _ = fmt.Fprintf(os.Stderr, "warning: snatAddresses: %s: not an address of this node: flows leave with the others; add it to an interface, remove it from the list, or, if it is routed to the node, list it in snatAddressesRouted too\n", all)
		return nil
	}
	return types.NewError(types.ErrInvalidNetworkConfig, "the node does not have an address of snatAddresses: "+all,
		"snatAddresses: "+all+": not an address of this node; add it to an interface, or, if it is routed to the node, list it in snatAddressesRouted too")
}

// hasHelpers returns an error if the running kernel lacks a conntrack helper, or the module
// that translates its payload.
func (n *node) hasHelpers(code uint, p *masq.Policy) error {
	if p == nil || len(p.KernelHelpers()) == 0 {
		return nil
	}
	missing, err := n.rules.MissingHelpers(*p)
	if err != nil {
		return failed(codeRules, "cannot query the kernel's conntrack helpers", err)
	}
	if len(missing) == 0 {
		return nil
	}
	var names, details []string
	for _, m := range missing {
		names = append(names, m.Helper+" (module "+m.Module+")")
		details = append(details, fmt.Sprintf("helpers: %q: the running kernel lacks module %s and could not load it; run `modprobe %s` and list it in /etc/modules-load.d, or remove the helper from the list", m.Helper, m.Module, m.Module))
	}
	return types.NewError(code, "the kernel lacks a conntrack helper: "+strings.Join(names, ", "), strings.Join(details, "\n"))
}

// hasDaemonHelpers returns an error if masqd does not serve a helper that the network requires.
// The node's policy requires none, so that pods start while masqd is replaced.
func (n *node) hasDaemonHelpers(code uint, conf *cniconf.Conf) error {
	helpers := conf.Policy.DaemonHelpers()
	if !conf.IPMasq || !conf.HelpersRequired || conf.Policy.EgressDirect || len(helpers) == 0 {
		return nil
	}
	daemon, holder, err := store.ReadLock(n.records.LockPath())
	if err != nil {
		return failed(codeState, "cannot read the state of masqd", err)
	}
	var missing []string
	for _, h := range helpers {
		if !holder.Running || !slices.Contains(daemon.Helpers, h.Name) {
			missing = append(missing, h.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	names := "helper " + missing[0] + " is"
	if len(missing) > 1 {
		names = "helpers " + strings.Join(missing, ", ") + " are"
	}
	state, remedy, evidence := "is not running", "start it", "is not locked by a process"
	if holder.Running {
		state, remedy = "does not serve it", "see its log"
		if len(missing) > 1 {
			state = "does not serve them"
		}
		evidence = "lists the helpers [" + strings.Join(daemon.Helpers, ", ") + "]"
	}
	return types.NewError(code, fmt.Sprintf(`%s by masqd, which %s: %s, or set "helpersRequired": false`, names, state, remedy),
		"helpers: "+n.records.LockPath()+" "+evidence)
}

// parts are the parts of an attachment that may exist in the kernel.
type parts struct{ link, rules bool }

// release removes an attachment, with all parts that exist.
func (n *node) release(rec store.Record, leases ipamPlugin) error {
	return n.remove(rec, leases, parts{link: !rec.Chained, rules: true})
}

// remove removes parts of an attachment, its leases and its record. The record is
// removed last: until then it lists the parts to remove. It costs time to search for a
// part that was never made: a missing link is searched for among all links of the node.
func (n *node) remove(rec store.Record, leases ipamPlugin, made parts) error {
	if rec.Ready {
		// Otherwise masqd restores the rules. If the disk is full, masqd may do so, and
		// removes them when the record is deleted.
		rec.Ready = false
		_ = n.records.Put(rec)
	}
	link := make(chan error, 1)
	go func() {
		// The kernel takes 15 to 30 ms to delete a link, mostly waiting. The rules are removed
		// meanwhile.
		if !made.link {
			link <- nil
			return
		}
		link <- failed(codeLink, "cannot remove the link", n.links.Delete(hostLink(rec)))
	}()
	var errRules error
	if made.rules {
		errRules = n.removeRules(rec)
	}
	errLink := <-link
	// A released address may be leased again at once, so its link and rules are removed
	// first.
	if err := join(errRules, errLink); err != nil {
		return err
	}
	if leases != nil {
		if err := leases.release(rec.Addresses); err != nil {
			return failed(codeIPAM, "cannot release the addresses", err)
		}
	}
	return failed(codeState, "cannot remove the record", n.records.Delete(rec.Key))
}

// removeRules removes the rules of an attachment, and gives its addresses back to the
// attachments that it replaced.
func (n *node) removeRules(rec store.Record) error {
	successors, err := n.records.Replaced(rec)
	if err != nil {
		warn("%s: the attachments that had its addresses before cannot be found: %s", rec.Identity(), err)
	}
	err = n.rules.Remove(rec.Attachment, n.links.HasAddress, attachmentsOf(successors)...)
	n.restoreRoutes(rec, successors)
	return failed(codeRules, "cannot remove the rules", err)
}

// restoreRoutes makes the node's routes to addresses of rec lead to the links of successors
// again. Successors are in the order in which they were added.
func (n *node) restoreRoutes(rec store.Record, successors []store.Record) {
	for _, s := range successors {
		if s.Chained {
			continue // the previous plugin made the routes, if any
		}
		shared := slices.DeleteFunc(slices.Clone(s.Addresses), func(a netip.Addr) bool { return !slices.Contains(rec.Addresses, a) })
		if err := n.links.RestoreRoutes(s.HostName(), s.Identity(), shared); err != nil {
			warn("%s: its address belongs to %s again, but the route cannot be restored: %s", rec.Identity(), s.Identity(), err)
		}
	}
}

func attachmentsOf(records []store.Record) []masq.Attachment {
	var out []masq.Attachment
	for _, r := range records {
		out = append(out, r.Attachment)
	}
	return out
}

// join returns one CNI error for several errors.
func join(all ...error) error {
	var first *types.Error
	for _, err := range all {
		if err == nil {
			continue
		}
		var known *types.Error
		if !errors.As(err, &known) {
			known = types.NewError(types.ErrInternal, err.Error(), "")
		}
		if first == nil {
			first = types.NewError(known.Code, known.Msg, known.Details)
			continue
		}
		first.Msg += "; " + known.Msg
		first.Details = strings.Trim(first.Details+"\n"+known.Details, "\n")
	}
	if first == nil {
		return nil
	}
	return first
}

func addrs(prefixes []netip.Prefix) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, p := range prefixes {
		if p.Addr().Is4() {
			v4 = append(v4, p.Addr())
		} else {
			v6 = append(v6, p.Addr())
		}
	}
	return append(v4, v6...)
}
