package nft

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// OtherRule is a rule of another table.
type OtherRule struct {
	Family, Table, Chain string
	// BaseChain is the base chain from which packets reach the rule, with its hook and its
	// priority.
	BaseChain, Hook string
	Priority        int
	Handle          uint64
	// Comment and Text are as in TracedRule.
	Comment, Text string
	// Action is "masquerade", "snat", "drop" or "reject".
	Action string
	// Sources are the addresses, of those asked for, whose packets meet the rule, and
	// BySource says that the rule or a jump to it names them. Answers says that the packets are
	// answers to these addresses, which are their destinations.
	Sources           []netip.Addr
	BySource, Answers bool
	// IPv4 and IPv6 say of which family the packets are that meet the rule.
	IPv4, IPv6 bool
}

// OtherSourceNAT returns the rules of other tables that translate the source addresses of new
// TCP connections from these addresses to destinations beyond the uplinks. It returns only
// rules that certainly do: none that needs a mark or a set, or that follows a rule that
// is not understood and can end the chain. It assumes that packets have no mark.
func (c *Conn) OtherSourceNAT(addresses []netip.Addr, uplinks []string) (out []OtherRule, err error) {
	w := &walker{conn: c, kind: "nat", ends: []string{"masquerade", "snat"}}
	for v6, from := range byFamily(addresses) {
		p := &walkedPacket{uplinks: uplinks, v6: v6, proto: unix.IPPROTO_TCP, state: ctStates["new"], leaves: true}
		w.runs = append(w.runs, run{p, from, []string{"postrouting"}})
	}
	return w.walkAll()
}

// OtherConnectionDrops returns the rules of other tables that drop or reject new TCP connections
// from these addresses to all destinations beyond the uplinks, or the answers to them. Like
// OtherSourceNAT it returns only rules that certainly do. In addition it returns no rule that
// needs the absence of a mark, a destination or one of several uplinks, or that follows a rule
// which may accept packets by such a condition: programs implement their policies with them.
func (c *Conn) OtherConnectionDrops(addresses []netip.Addr, uplinks []string) ([]OtherRule, error) {
	w := &walker{conn: c, kind: "filter", ends: []string{"drop", "reject"}}
	for v6, all := range byFamily(addresses) {
		request := &walkedPacket{uplinks: uplinks, v6: v6, proto: unix.IPPROTO_TCP, state: ctStates["new"], leaves: true, strict: true}
		answer := &walkedPacket{uplinks: uplinks, v6: v6, proto: unix.IPPROTO_TCP, state: ctStates["established"], arrives: true, strict: true, answers: true}
		// At the hook postrouting the source of a request becomes an address of the node, and
		// until the hook forward the destination of an answer is one.
		w.runs = append(w.runs,
			run{request, all, []string{"prerouting", "forward"}},
			run{answer, all, []string{"forward", "postrouting"}})
	}
	found, err := w.walkAll()
	return onceEach(found), err
}

// onceEach returns the rules that drop requests, and then the rules that drop answers. It returns
// a rule once for an address, also if several kinds of packets meet the rule.
func onceEach(all []OtherRule) (out []OtherRule) {
	for _, answers := range []bool{false, true} {
		for _, r := range all {
			if r.Answers != answers {
				continue
			}
			for _, o := range out {
				if o.IsRule(r) {
					r.Sources = slices.DeleteFunc(slices.Clone(r.Sources), func(a netip.Addr) bool { return slices.Contains(o.Sources, a) })
				}
			}
			if len(r.Sources) > 0 {
				out = append(out, r)
			}
		}
	}
	return out
}

// IsRule reports whether both are the same rule.
func (r OtherRule) IsRule(o OtherRule) bool {
	return r.Handle == o.Handle && r.Chain == o.Chain && r.Table == o.Table && r.Family == o.Family
}

// byFamily yields the addresses of each family that has some, sorted. The key is true for IPv6.
func byFamily(addresses []netip.Addr) iter.Seq2[bool, []netip.Addr] {
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, netip.Addr.Compare)
	sorted = slices.Compact(sorted)
	i, _ := slices.BinarySearchFunc(sorted, netip.IPv6Unspecified(), netip.Addr.Compare)
	return func(yield func(bool, []netip.Addr) bool) {
		if i > 0 && !yield(false, sorted[:i]) {
			return
		}
		if i < len(sorted) {
			yield(true, sorted[i:])
		}
	}
}

// OtherICMPDrops returns the rules of other tables that drop ICMP messages "fragmentation
// needed" or ICMPv6 messages "packet too big", which path MTU discovery needs. Like
// OtherSourceNAT it returns only rules that certainly do.
func (c *Conn) OtherICMPDrops(uplinks []string) ([]OtherRule, error) {
	w := &walker{conn: c, kind: "filter", ends: []string{"drop", "reject"}}
	for _, v6 := range []bool{false, true} {
		for _, hook := range []string{"prerouting", "forward", "input", "output", "postrouting"} {
			p := &walkedPacket{uplinks: uplinks, v6: v6, proto: unix.IPPROTO_ICMP, state: ctStates["related"], typ: icmpUnreachable, code: icmpFragmentationNeeded}
			if v6 {
				p.proto, p.typ, p.code = unix.IPPROTO_ICMPV6, icmp6TooBig, 0
			}
			p.arrives = hook != "output" && hook != "postrouting"
			w.runs = append(w.runs, run{p, []netip.Addr{{}}, []string{hook}})
		}
	}
	return w.walkAll()
}

// OtherInputDrops returns the rules and policies of other tables that drop or reject packets of
// new flows which are redirected from these addresses to a listener of masqd. Like
// OtherConnectionDrops it returns only what certainly does. The text of a policy is "policy
// drop", and its handle 0.
func (c *Conn) OtherInputDrops(addresses []netip.Addr, uplinks []string, l ruleset.HelperKey) ([]OtherRule, error) {
	w := &walker{conn: c, kind: "filter", ends: []string{"drop", "reject"}}
	for v6, from := range byFamily(addresses) {
		if v6 == l.Addr.Addr().Is6() {
			p := &walkedPacket{uplinks: uplinks, v6: v6, proto: l.Proto, state: ctStates["new"], to: l.Addr, strict: true}
			w.runs = append(w.runs, run{p, from, []string{"input"}})
		}
	}
	return w.walkAll()
}

// walker follows packets through the chains of other tables.
type walker struct {
	conn  *Conn
	kind  string   // the type of the base chains
	ends  []string // the actions of the rules to find
	runs  []run
	rules map[chainID][]foreignRule // of chains that were read
	found []OtherRule
}

// run is a packet, or one from each of some addresses, at some hooks.
type run struct {
	packet *walkedPacket
	from   []netip.Addr
	hooks  []string
}

// walkAll follows all runs through all base chains.
func (w *walker) walkAll() ([]OtherRule, error) {
	err := retry(func() error {
		w.found, w.rules = nil, map[chainID][]foreignRule{}
		bases, err := w.conn.baseChains(w.kind)
		if err != nil {
			return err
		}
		for _, r := range w.runs {
			for _, b := range bases {
				if b.covers(r.packet.v6) && slices.Contains(r.hooks, b.hook) {
					v := visit{walker: w, packet: r.packet, base: b}
					atEnd, err := v.chain(b.at, r.from, false, false)
					if err != nil {
						return fmt.Errorf("read the rules of table %s %s: %w", families[b.at.family], b.at.name, err)
					}
					if r.packet.to.IsValid() && b.drops && len(atEnd) > 0 {
						v.report(b.at, &foreignRule{action: "drop", parts: []string{"policy drop"}}, atEnd, false)
					}
				}
			}
		}
		return nil
	})
	slices.SortStableFunc(w.found, func(a, b OtherRule) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Table, b.Table))
	})
	return w.found, explain(err)
}

// walkedBase is a base chain.
type walkedBase struct {
	at       chainID
	hook     string
	priority int
	drops    bool // its policy is drop
}

// covers reports whether packets of a family pass the chain.
func (b walkedBase) covers(v6 bool) bool {
	switch b.at.family {
	case unix.NFPROTO_IPV4:
		return !v6
	case unix.NFPROTO_IPV6:
		return v6
	}
	return b.at.family == unix.NFPROTO_INET
}

// baseChains lists the base chains of a type in other tables.
func (c *Conn) baseChains(kind string) (out []walkedBase, err error) {
	tables, err := c.otherTables()
	if err != nil {
		return nil, err
	}
	err = c.list(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETCHAIN, nil, func(family uint8, b []byte) error {
		f, err := fields(b)
		if err != nil {
			return err
		}
		table := netlink.Text(f[unix.NFTA_CHAIN_TABLE])
		if f[unix.NFTA_CHAIN_HOOK] == nil || netlink.Text(f[unix.NFTA_CHAIN_TYPE]) != kind || isManaged(families[family], table) || tables[tableID{family, table}].dormant {
			return nil
		}
		hook, err := fields(f[unix.NFTA_CHAIN_HOOK])
		out = append(out, walkedBase{
			chainID{tableID{family, table}, netlink.Text(f[unix.NFTA_CHAIN_NAME])},
			hookName(number(hook[unix.NFTA_HOOK_HOOKNUM])), int(int32(number(hook[unix.NFTA_HOOK_PRIORITY]))),
			f[unix.NFTA_CHAIN_POLICY] != nil && number(f[unix.NFTA_CHAIN_POLICY]) == nfDrop,
		})
		return err
	})
	return out, err
}

// isManaged reports whether a table is masq-cni's or a Tracer's.
func isManaged(family, table string) bool {
	return ruleset.IsManaged(family, table) || isTraceTable(table)
}

// maxWalkedChains bounds the number of chains that are read. Some programs have chains for each
// container.
const maxWalkedChains = 512

// rulesOf reads the rules of a chain.
func (w *walker) rulesOf(at chainID) ([]foreignRule, error) {
	if all, ok := w.rules[at]; ok {
		return all, nil
	}
	var of netlink.Encoder
	of.Text(unix.NFTA_RULE_TABLE, at.name)
	of.Text(unix.NFTA_RULE_CHAIN, at.chain)
	var all []foreignRule
	handles := map[uint64]bool{}
	err := w.conn.list(at.family, unix.NFT_MSG_GETRULE, of, func(_ uint8, b []byte) error {
		f, err := fields(bytes.Clone(b)) // the next request overwrites b, and the rules are kept
		if err != nil || netlink.Text(f[unix.NFTA_RULE_TABLE]) != at.name || netlink.Text(f[unix.NFTA_RULE_CHAIN]) != at.chain {
			return err
		}
		r, err := readRule(f)
		if !handles[r.handle] { // listed twice: see readListing
			all = append(all, r)
		}
		handles[r.handle] = true
		return err
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil // the chain was deleted since it was listed
	}
	w.rules[at] = all
	return all, err
}

// visit is the way of a run through one base chain.
type visit struct {
	*walker
	packet *walkedPacket
	base   walkedBase
}

// chain follows the packets of some addresses through a chain, and returns the addresses whose
// packets certainly return from it. quiet says that it is not certain that they come there:
// then no rule is reported. named says that a rule before has named the addresses.
func (v visit) chain(at chainID, from []netip.Addr, quiet, named bool) (back []netip.Addr, err error) {
	rules, err := v.rulesOf(at)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if len(from) == 0 {
			break
		}
		r := &rules[i]
		meets, answer, source := v.packet.meet(r, from)
		if answer == no || r.action == "" {
			continue
		}
		switch r.action {
		case "jump", "goto":
			if len(v.rules) >= maxWalkedChains {
				from = without(from, meets) // they may not come back
				continue
			}
			rest, err := v.chain(chainID{at.tableID, r.target}, meets, quiet || answer != yes, named || source)
			if err != nil {
				return nil, err
			}
			from = without(from, meets)
			if r.action == "goto" {
				back = union(back, rest)
			} else {
				from = union(from, rest)
			}
			continue
		case "return":
			if answer == yes {
				back = union(back, meets)
			}
		default:
			if answer == yes && !quiet && slices.Contains(v.ends, r.action) {
				v.report(at, r, meets, named || source)
			} else if answer != yes && slices.Contains(v.ends, r.action) {
				continue // the packets may pass
			}
		}
		from = without(from, meets)
	}
	return union(back, from), nil
}

func (v visit) report(at chainID, r *foreignRule, sources []netip.Addr, named bool) {
	x := OtherRule{
		Family: families[at.family], Table: at.name, Chain: at.chain,
		BaseChain: v.base.at.chain, Hook: v.base.hook, Priority: v.base.priority,
		Handle: r.handle, Comment: r.comment, Text: r.text(), Action: r.action, BySource: named, Answers: v.packet.answers,
		IPv4: !v.packet.v6, IPv6: v.packet.v6,
	}
	if sources[0].IsValid() {
		x.Sources = sources
	}
	same := func(o OtherRule) bool { return o.IsRule(x) && o.Hook == x.Hook && o.Answers == x.Answers }
	if i := slices.IndexFunc(v.found, same); i >= 0 {
		f := &v.found[i]
		f.Sources, f.IPv4, f.IPv6 = union(f.Sources, x.Sources), f.IPv4 || x.IPv4, f.IPv6 || x.IPv6
		return
	}
	v.found = append(v.found, x)
}
