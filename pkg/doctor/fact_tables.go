package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// otherTables has the rules of other programs that matter to containers.
type otherTables struct {
	// SourceNAT are rules that translate connections of containers, ConnectionDrops rules that
	// drop them, and ICMPDrops other rules that drop the ICMP messages of path MTU discovery.
	SourceNAT, ConnectionDrops, ICMPDrops []nft.OtherRule
	owners                                tableOwners
}

// tableOwners are the processes that own tables with the flag owner, by family and table.
type tableOwners map[string]string

// read reads the owner of a table, unless it is known.
func (o tableOwners) read(c *nft.Conn, family, table string) (err error) {
	key := family + " " + table
	if _, known := o[key]; !known {
		o[key], err = c.TableOwner(family, table)
	}
	return err
}

// of names the process that owns a table, or else the program that made one of these chains of
// it. It returns "" if neither is known.
func (o tableOwners) of(family, table string, chains ...string) string {
	if owner := o[family+" "+table]; owner != "" {
		return owner
	}
	for _, chain := range chains {
		if owner := nft.ChainOwner(family, table, chain); owner != "" {
			return owner
		}
	}
	return ""
}

// otherTables reads the rules of other tables. It reads only chains that the packets pass.
func (n *Node) otherTables() (*otherTables, error) {
	return read(n, "other tables", func() (_ *otherTables, err error) {
		addresses := n.translatedAddresses()
		if len(addresses) == 0 {
			return &otherTables{}, nil
		}
		uplinks, families, err := uplinkNames()
		if err != nil {
			return nil, err
		}
		c, err := nft.Open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		x := &otherTables{owners: tableOwners{}}
		if x.SourceNAT, err = c.OtherSourceNAT(addresses, uplinks); err != nil {
			return nil, err
		}
		routed := slices.DeleteFunc(addresses, func(a netip.Addr) bool { return !slices.Contains(families, masq.FamilyOf(a)) })
		if x.ConnectionDrops, err = c.OtherConnectionDrops(routed, uplinks); err != nil {
			return nil, err
		}
		if x.ICMPDrops, err = c.OtherICMPDrops(uplinks); err != nil {
			return nil, err
		}
		x.ICMPDrops = slices.DeleteFunc(x.ICMPDrops, func(r nft.OtherRule) bool { return slices.ContainsFunc(x.ConnectionDrops, r.IsRule) })
		for _, r := range slices.Concat(x.SourceNAT, x.ConnectionDrops, x.ICMPDrops) {
			if err := x.owners.read(c, r.Family, r.Table); err != nil {
				return nil, err
			}
		}
		return x, nil
	})
}

// uplinkNames returns the names of the interfaces of the default routes, and their families.
func uplinkNames() (names []string, families []masq.Family, err error) {
	c, err := veth.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	all, err := c.Uplinks()
	if err != nil {
		return nil, nil, fmt.Errorf("look up the uplinks: %w", err)
	}
	for _, u := range all {
		if !slices.Contains(names, u.Interface) {
			names = append(names, u.Interface)
		}
		families = append(families, u.Family)
	}
	return names, families, nil
}

// translatedAddresses returns the addresses of the ready attachments that masq-cni translates, of
// those to examine.
func (n *Node) translatedAddresses() (out []netip.Addr) {
	for _, r := range n.ready() {
		if r.Policy != nil {
			out = append(out, r.Addresses...)
		}
	}
	return out
}

// ownerOf names the program that made a rule, or "" if it is not known.
func (x *otherTables) ownerOf(r *nft.OtherRule) string {
	return x.owners.of(r.Family, r.Table, r.Chain, r.BaseChain)
}

// chainName names a chain in a sentence.
func chainName(family, table, chain string) string {
	return fmt.Sprintf("table %s %s, chain %s", family, table, chain)
}

// listChain is the command that lists a chain with the handles of its rules.
func listChain(family, table, chain string) string {
	return "nft -a list chain " + report.ShellQuote(family) + " " + report.ShellQuote(table) + " " + report.ShellQuote(chain)
}

// deleteRule is the command that deletes a rule.
func deleteRule(family, table, chain string, handle uint64) string {
	return fmt.Sprintf("nft delete rule %s %s %s handle %d", report.ShellQuote(family), report.ShellQuote(table), report.ShellQuote(chain), handle)
}

// ruleEvidence shows a rule, the base chain that leads to it, and its owner.
func ruleEvidence(family, table, chain, base, hook string, priority int, handle uint64, text, comment, owner string) []Evidence {
	rule := text
	if comment != "" {
		rule += fmt.Sprintf(" comment %q", comment)
	}
	out := []Evidence{{listChain(family, table, chain), fmt.Sprintf("%s # handle %d", rule, handle)}}
	if base != "" {
		out = append(out, Evidence{"base chain " + base, fmt.Sprintf("hook %s, priority %d", hook, priority)})
	}
	if owner != "" {
		out = append(out, Evidence{"owner of the chain, by its name or its table", owner})
	}
	return out
}

// configuredBy says where to change a rule for good.
func configuredBy(owner string) string {
	if owner == "" || owner == nft.AnyIptables {
		return "the program that made the rule"
	}
	return owner
}

// evidenceOf shows a rule.
func (x *otherTables) evidenceOf(r *nft.OtherRule) []Evidence {
	return ruleEvidence(r.Family, r.Table, r.Chain, r.BaseChain, r.Hook, r.Priority, r.Handle, r.Text, r.Comment, x.ownerOf(r))
}
