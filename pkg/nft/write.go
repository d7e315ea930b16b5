package nft

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// hooks and priorities have nft's names for them in the inet family.
var (
	hooks      = map[string]uint32{"prerouting": unix.NF_INET_PRE_ROUTING, "forward": unix.NF_INET_FORWARD, "postrouting": unix.NF_INET_POST_ROUTING}
	priorities = map[string]int32{"-450": -450, "mangle": -150, "dstnat - 1": -101, "dstnat + 1": -99, "srcnat - 2": 98, "srcnat - 1": 99}
)

// hookName returns nft's name for a hook of the inet family, or its number.
func hookName(hook uint32) string {
	names := []string{
		unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_IN: "input", unix.NF_INET_FORWARD: "forward",
		unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting",
	}
	if hook < uint32(len(names)) {
		return names[hook]
	}
	return strconv.FormatUint(uint64(hook), 10)
}

const nfAccept = 1 // NF_ACCEPT

func addTable(flags uint32) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	a.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	return op{typ: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE, body: a, what: "add table inet masq"}
}

func deleteTable() op {
	var a netlink.Encoder
	a.Text(unix.NFTA_TABLE_NAME, ruleset.Name)
	return op{typ: unix.NFT_MSG_DELTABLE, body: a, what: "delete table inet masq", optional: true}
}

// helperProtocols are the protocol numbers of conntrack helpers' control connections.
var helperProtocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// l3Of returns the family of a helper as the kernel reports it: IPv4 for a helper that
// exists for IPv4 only, whatever was requested.
func l3Of(o ruleset.Object) uint16 {
	if o.IPv4Only {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_INET
}

func addObject(o ruleset.Object) op {
	var data, a netlink.Encoder
	data.Text(unix.NFTA_CT_HELPER_NAME, o.Kernel)
	data.Bytes(unix.NFTA_CT_HELPER_L3PROTO, []byte{0, byte(l3Of(o))})
	data.Bytes(unix.NFTA_CT_HELPER_L4PROTO, []byte{helperProtocols[o.Protocol]})
	a.Text(unix.NFTA_OBJ_TABLE, ruleset.Name)
	a.Text(unix.NFTA_OBJ_NAME, o.Name)
	a.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER)
	a.Nest(unix.NFTA_OBJ_DATA, data)
	return op{typ: unix.NFT_MSG_NEWOBJ, flags: unix.NLM_F_CREATE, body: a, what: "add ct helper " + o.Name}
}

func deleteObject(name string, kind uint32) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_OBJ_TABLE, ruleset.Name)
	a.Text(unix.NFTA_OBJ_NAME, name)
	a.Uint32(unix.NFTA_OBJ_TYPE, kind)
	return op{typ: unix.NFT_MSG_DELOBJ, body: a, what: "delete object " + name}
}

func addChain(c ruleset.Chain) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	a.Text(unix.NFTA_CHAIN_NAME, c.Name)
	if h := c.Hook; h != nil {
		var hook netlink.Encoder
		hook.Uint32(unix.NFTA_HOOK_HOOKNUM, hooks[h.Point])
		hook.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priorities[h.Priority]))
		a.Nest(unix.NFTA_CHAIN_HOOK, hook)
		a.Uint32(unix.NFTA_CHAIN_POLICY, nfAccept)
		a.Text(unix.NFTA_CHAIN_TYPE, h.Type)
	}
	return op{typ: unix.NFT_MSG_NEWCHAIN, flags: unix.NLM_F_CREATE, body: a, what: "add chain " + c.Name}
}

func deleteChain(name string) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_CHAIN_TABLE, ruleset.Name)
	a.Text(unix.NFTA_CHAIN_NAME, name)
	return op{typ: unix.NFT_MSG_DELCHAIN, body: a, what: "delete chain " + name}
}

// addRule adds a rule before the rule with the given handle, or last if the handle is 0.
// The rule's counter starts at count, the counter of the rule that it replaces, if any.
func addRule(chain string, r ruleset.Rule, before uint64, count netlink.Encoder) (op, error) {
	all, err := compile(r.Text)
	if err != nil {
		return op{}, err
	}
	if i := counterOf(all); i >= 0 && count != nil {
		all[i].data = count
	}
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, chain)
	a.Nest(unix.NFTA_RULE_EXPRESSIONS, list(all))
	putComment(&a, unix.NFTA_RULE_USERDATA, r.ID)
	o := op{typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE, what: "add rule " + r.ID}
	if before == 0 {
		o.flags |= unix.NLM_F_APPEND
	} else {
		a.Uint64(unix.NFTA_RULE_POSITION, before)
	}
	o.body = a
	return o, nil
}

// deleteRule deletes a rule, or all rules of a chain if the handle is 0.
func deleteRule(chain string, handle uint64) op {
	var a netlink.Encoder
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, chain)
	if handle != 0 {
		a.Uint64(unix.NFTA_RULE_HANDLE, handle)
	}
	return op{typ: unix.NFT_MSG_DELRULE, body: a, what: fmt.Sprintf("delete rule %d of chain %s", handle, chain), optional: handle == 0}
}
