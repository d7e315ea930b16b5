package nft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// BaseChain is a base chain of another table that packets of containers pass and that can
// drop them. An accept in table inet masq does not override a drop in another base chain.
type BaseChain struct {
	Family string // "ip", "ip6", "inet", "bridge", "netdev"
	Table  string
	Chain  string
	Hook   string // "prerouting", "forward" or "postrouting"; bridge and netdev have others too
	// Priority orders the chains of a hook; the lowest comes first.
	Priority int
	// Drop says that the chain's policy is drop.
	Drop bool
	// Rules is the number of rules that drop or reject, in the chain and in the chains
	// that it jumps to. Chains in verdict maps are not followed.
	Rules int
	// Owner names the process that owns the table, or else the program that makes the chain. It
	// is "" if neither is known.
	Owner string
}

// families are the families whose base chains packets of containers pass.
var families = map[uint8]string{
	unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet",
	unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev",
}

// passed has the hooks that forwarded packets pass, by family. Packets of a container that
// is attached to a bridge pass the bridge's input hook.
var passed = map[string]map[uint32]string{
	"ip":     {unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward", unix.NF_INET_POST_ROUTING: "postrouting"},
	"ip6":    {unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward", unix.NF_INET_POST_ROUTING: "postrouting"},
	"inet":   {unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward", unix.NF_INET_POST_ROUTING: "postrouting", nfInetIngress: "ingress"},
	"bridge": {0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting"},
	"netdev": {0: "ingress", 1: "egress"},
}

// nfDrop is NF_DROP of uapi/linux/netfilter.h.
const nfDrop = 0

// nfInetIngress is NF_INET_INGRESS of uapi/linux/netfilter.h. Requires Linux 5.10.
const nfInetIngress = 5

// tableID identifies a table of any family.
type tableID struct {
	family uint8
	name   string
}

type chainID struct {
	tableID
	chain string
}

// OtherBaseChains returns the base chains of other tables that can drop packets of
// containers, sorted by hook and priority. It does not see tables of legacy iptables,
// which are not part of nf_tables.
func (c *Conn) OtherBaseChains() (out []BaseChain, err error) {
	err = retry(func() error {
		out, err = c.otherBaseChains()
		return err
	})
	return out, explain(err)
}

func (c *Conn) otherBaseChains() (out []BaseChain, err error) {
	known, err := c.otherTables()
	if err != nil {
		return nil, fmt.Errorf("list all tables: %w", err)
	}
	bases := map[chainID]BaseChain{}
	tables := map[tableID]bool{}
	err = c.list(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETCHAIN, nil, func(family uint8, b []byte) error {
		f, err := fields(b)
		if err != nil {
			return err
		}
		at := chainID{tableID{family, netlink.Text(f[unix.NFTA_CHAIN_TABLE])}, netlink.Text(f[unix.NFTA_CHAIN_NAME])}
		base, ok, err := baseChain(at, f)
		if ok && err == nil && !known[at.tableID].dormant {
			bases[at], tables[at.tableID] = base, true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the chains of all tables: %w", err)
	}
	jumps := map[chainID][]string{}
	drops := map[chainID]int{}
	for t := range tables {
		var of netlink.Encoder
		of.Text(unix.NFTA_RULE_TABLE, t.name)
		handles := map[uint64]bool{}
		err := c.list(t.family, unix.NFT_MSG_GETRULE, of, func(family uint8, b []byte) error {
			f, err := fields(b)
			if err != nil {
				return err
			}
			handle := number64(f[unix.NFTA_RULE_HANDLE])
			if handles[handle] {
				return nil // listed twice: see readListing
			}
			handles[handle] = true
			at := chainID{tableID{family, netlink.Text(f[unix.NFTA_RULE_TABLE])}, netlink.Text(f[unix.NFTA_RULE_CHAIN])}
			drop, to, err := verdict(f[unix.NFTA_RULE_EXPRESSIONS])
			if drop {
				drops[at]++
			}
			if to != "" {
				jumps[at] = append(jumps[at], to)
			}
			return err
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // the table was deleted since its chains were listed
			return nil, fmt.Errorf("list the rules of table %s %s: %w", families[t.family], t.name, err)
		}
	}
	for at, base := range bases {
		base.Rules = reached(at, drops, jumps)
		if base.Drop || base.Rules > 0 {
			base.Owner = ChainOwner(base.Family, base.Table, base.Chain)
			if port := known[at.tableID].port; port != 0 {
				base.Owner = ownerError(at.name, port, nil).Owner()
			}
			out = append(out, base)
		}
	}
	slices.SortFunc(out, func(a, b BaseChain) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Chain, b.Chain))
	})
	return out, nil
}

// baseChain reads a chain. ok is false if packets of containers do not pass the chain, or
// if it is in a table of masq-cni's or a Tracer's.
func baseChain(at chainID, f map[uint16][]byte) (base BaseChain, ok bool, err error) {
	family := families[at.family]
	h, is := f[unix.NFTA_CHAIN_HOOK]
	if !is || isManaged(family, at.name) {
		return base, false, nil
	}
	hook, err := fields(h)
	if err != nil {
		return base, false, err
	}
	name, ok := passed[family][number(hook[unix.NFTA_HOOK_HOOKNUM])]
	// The attribute is missing in families whose chains have no policy.
	policy, has := f[unix.NFTA_CHAIN_POLICY]
	return BaseChain{
		Family: family, Table: at.name, Chain: at.chain, Hook: name,
		Priority: int(int32(number(hook[unix.NFTA_HOOK_PRIORITY]))), Drop: has && number(policy) == nfDrop,
	}, ok, nil
}

// verdict returns whether a rule drops or rejects, and the chain that it jumps to.
func verdict(expressions []byte) (drop bool, to string, err error) {
	all, err := parseList(expressions)
	for _, e := range all {
		f, err := fields(e.data)
		if err != nil {
			return false, "", err
		}
		switch e.name {
		case "reject":
			drop = true
		case "target": // of iptables-nft
			name := netlink.Text(f[unix.NFTA_TARGET_NAME])
			drop = drop || name == "REJECT" || name == "DROP"
		case "immediate":
			v, err := inside(f[unix.NFTA_IMMEDIATE_DATA], unix.NFTA_DATA_VERDICT)
			if err != nil {
				return false, "", err
			}
			if v == nil {
				continue
			}
			x, err := fields(v)
			if err != nil {
				return false, "", err
			}
			if code, has := x[unix.NFTA_VERDICT_CODE]; has && number(code) == nfDrop {
				drop = true
			}
			to = netlink.Text(x[unix.NFTA_VERDICT_CHAIN])
		}
	}
	return drop, to, err
}

// reached counts the rules that drop in a chain and in the chains that it jumps to.
func reached(from chainID, drops map[chainID]int, jumps map[chainID][]string) (n int) {
	seen := map[chainID]bool{from: true}
	for todo := []chainID{from}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		n += drops[at]
		for _, name := range jumps[at] {
			if to := (chainID{at.tableID, name}); !seen[to] {
				seen[to] = true
				todo = append(todo, to)
			}
		}
	}
	return n
}
