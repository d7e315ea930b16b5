package nft

import (
	"errors"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// Feature is a part of the kernel that masq-cni uses or could use.
type Feature struct {
	Name      string // as nft writes it: "masquerade", "ct helper ftp"
	Available bool
	Module    string // the module to load if it is not available; "" if none is known
	For       string // what does not work without it
}

// Features returns which features the running kernel has, always in the same order. It
// sends one transaction that the kernel checks and then aborts. For it the kernel loads the
// modules that it can. For some milliseconds the namespace tracks connections, even if it
// did not before. It fails if the kernel cannot be queried.
func (c *Conn) Features() ([]Feature, error) {
	all, err := probes()
	if err != nil {
		return nil, err
	}
	out, err := c.features(all)
	if err != nil {
		return nil, err
	}
	every := masq.Policy{}
	for _, k := range masq.KernelHelperKinds() {
		every.Helpers = append(every.Helpers, masq.Helper{Name: k.Name})
	}
	return withoutNAT(out, c.missingNAT(every)), nil
}

// withoutNAT marks the helpers whose module for translation is missing as not available.
func withoutNAT(all []Feature, missing []MissingHelper) []Feature {
	for _, m := range missing {
		i := slices.IndexFunc(all, func(f Feature) bool { return f.Name == helperFeature(m.Helper) })
		if i >= 0 && all[i].Available {
			all[i].Available, all[i].Module = false, m.Module
		}
	}
	return all
}

func helperFeature(name string) string { return "ct helper " + name }

// probe is a feature, and messages that the kernel refuses without it.
type probe struct {
	Feature
	ops []op
}

// probeTable is a table that is never made. Probing in the ruleset's table would depend on
// what that table contains.
const probeTable = ruleset.Name + "-features"

// features probes all features in one transaction. The kernel reports an error for each
// message that it refuses, and an aborted transaction takes milliseconds.
func (c *Conn) features(all []probe) ([]Feature, error) {
	out := make([]Feature, len(all))
	var ops []op
	var features []*Feature // the feature of each message
	for i, p := range all {
		out[i] = p.Feature
		out[i].Available = true
		for _, o := range p.ops {
			o.what = p.Name
			ops, features = append(ops, o.within(probeTable)), append(features, &out[i])
		}
	}
	err := c.check(ops)
	failed, other := opErrors(err)
	for _, e := range failed {
		if !slices.ContainsFunc(absences, func(x unix.Errno) bool { return errors.Is(e.err, x) }) {
			other = e
		}
		features[e.index].Available = false
	}
	if other != nil {
		return nil, explain(err)
	}
	return out, nil
}

// absences are the kernel's answers to a request for a feature that it lacks. It answers
// EINVAL if an expression does not know a type or a key.
var absences = []unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EINVAL}

// within returns the message for another table. The name of the table is the first
// attribute of each message.
func (o op) within(table string) op {
	first := netlink.Attributes{Rest: o.body}
	first.Next()
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, table)
	a = append(a, first.Rest...)
	o.body = a
	return o
}

// statements are the features that are expressions: each has a rule of the ruleset that
// uses it, and its name in the kernel. Later expressions of the rule are left out, so that
// their absence is not reported as this one's.
var statements = []struct{ name, rule, expression, module, use string }{
	{"masquerade", "masquerade fully-random", "masq", "nft_masq", "masquerading, except to snatAddresses"},
	{"snat", "snat ip to 192.0.2.1 fully-random", "nat", "nft_nat", "snatAddresses"},
	{"fib", "fib daddr type @never", "fib", "nft_fib_inet", "not translating local, broadcast and multicast destinations"},
	{"numgen", "numgen random mod 2 < 1", "numgen", "nft_numgen", "several snatAddresses or port ranges"},
	{"ct state", "ct state new", "ct", "nft_ct", "dropping invalid packets, and helpers"},
	{"socket", "socket wildcard 1", "socket", "nft_socket", "helpers: protecting the ports of the node's sockets"},
	{"tcp option maxseg set", "tcp option maxseg size set 1300", "exthdr", "", "clamping the MSS"},
	{"rt mtu", "tcp option maxseg size set rt mtu", "rt", "", "clamping the MSS to the path MTU"},
}

// probes returns the features that Features probes.
func probes() ([]probe, error) {
	var errs []error
	set := func(s ruleset.Set, id uint32) op {
		o, err := addSet(s, id)
		errs = append(errs, err)
		return o
	}
	all := []probe{
		{Feature{Name: "inet table", Module: "nf_tables", For: "all functions"}, []op{dormantTable(), addChain(ruleset.Chain{Name: regular})}},
		{Feature{Name: "filter chain", For: "all functions"}, []op{addChain(ruleset.Chain{Name: "filter", Hook: &ruleset.Hook{Type: "filter", Point: "forward", Priority: "mangle"}})}},
		{Feature{Name: "nat chain", Module: "nft_chain_nat", For: "masquerading"}, []op{addChain(ruleset.Chain{Name: "nat", Hook: &ruleset.Hook{Type: "nat", Point: "postrouting", Priority: "srcnat - 1"}})}},
		{Feature{Name: "verdict map", For: "finding the policy of an attachment"}, []op{set(ruleset.Set{Name: "policy", Type: "ipv4_addr", Verdict: true, Counter: true}, 1)}},
		{Feature{Name: "interval set", For: "direct destinations"}, []op{set(ruleset.Set{Name: "direct", Type: "ipv6_addr", Interval: true}, 2)}},
		{Feature{Name: "concatenation", For: "dropping spoofed sources, and helpers"}, []op{set(ruleset.Set{Name: "sources", Type: "ifname . ipv6_addr"}, 3)}},
	}
	for _, r := range statements {
		x, err := compile(r.rule)
		errs = append(errs, err)
		x = x[:1+slices.IndexFunc(x, func(x expression) bool { return x.name == r.expression })]
		all = append(all, probe{Feature{Name: r.name, Module: r.module, For: r.use}, []op{ruleOf(x...)}})
	}
	referring, err := encode(&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "counter"})
	errs = append(errs, err)
	all = append(all, probe{
		Feature{Name: "ct helper set", Module: "nft_objref", For: "helpers"},
		[]op{addCounter("counter"), ruleOf(referring)},
	})
	for _, k := range masq.KernelHelperKinds() {
		p := probe{Feature: Feature{Name: helperFeature(k.Name), Module: k.Module, For: k.Name + " through a masquerade"}}
		for _, how := range k.Assign {
			p.ops = append(p.ops, addObject(ruleset.HelperObject(k, how)))
		}
		all = append(all, p)
	}
	all = append(all, probe{
		Feature{Name: "flowtable", Module: "nf_flow_table_inet", For: "nothing yet; it could offload flows"},
		[]op{addFlowtable("flows")},
	})
	return all, errors.Join(errs...)
}

// dormantTable makes a table whose chains meet no packets.
func dormantTable() op {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	a.Uint32(unix.NFTA_TABLE_FLAGS, unix.NFT_TABLE_F_DORMANT)
	return op{typ: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE, body: a}
}

// regular is a chain that no packet meets, so that nothing is validated for a hook.
const regular = "rules"

func ruleOf(all ...expression) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, regular)
	a.Nest(unix.NFTA_RULE_EXPRESSIONS, list(all))
	return op{typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE | unix.NLM_F_APPEND, body: a}
}

func addCounter(name string) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_OBJ_TABLE, ruleset.Name)
	a.Text(unix.NFTA_OBJ_NAME, name)
	a.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	a.Nest(unix.NFTA_OBJ_DATA, nil)
	return op{typ: unix.NFT_MSG_NEWOBJ, flags: unix.NLM_F_CREATE, body: a}
}

// Attributes of uapi/linux/netfilter/nf_tables.h that golang.org/x/sys lacks.
const (
	nftaFlowtableTable = 1
	nftaFlowtableName  = 2
	nftaFlowtableHook  = 3

	nftaFlowtableHookNum      = 1
	nftaFlowtableHookPriority = 2
)

// addFlowtable makes a flowtable of no device.
func addFlowtable(name string) op {
	var hook, a netlink.Encoder
	hook.Uint32(nftaFlowtableHookNum, 0) // NF_NETDEV_INGRESS, the only hook of flowtables
	hook.Uint32(nftaFlowtableHookPriority, 0)
	a.Text(nftaFlowtableTable, ruleset.Name)
	a.Text(nftaFlowtableName, name)
	a.Nest(nftaFlowtableHook, hook)
	return op{typ: unix.NFT_MSG_NEWFLOWTABLE, flags: unix.NLM_F_CREATE, body: a}
}
