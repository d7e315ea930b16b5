package nft

import (
	"encoding/binary"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// traceNames has what was read about chains, rules and interfaces that packets met.
type traceNames struct {
	chains map[chainID]baseOf
	rules  map[ruleID]TracedRule
	links  map[uint32]string
}

type ruleID struct {
	chainID
	handle uint64
}

// baseOf has the hook of a base chain.
type baseOf struct {
	hook, kind string
	priority   int
}

// resolve adds the names to a step.
func (t *Tracer) resolve(s *TraceStep) error {
	if t.resolved.chains == nil {
		t.resolved = traceNames{chains: map[chainID]baseOf{}, rules: map[ruleID]TracedRule{}, links: map[uint32]string{}}
	}
	if isTraceTable(s.Table) {
		return nil
	}
	base, ok := t.resolved.chains[s.base]
	if !ok {
		var err error
		if base, err = t.reader.baseOf(s.base); err != nil {
			return err
		}
		t.resolved.chains[s.base] = base
	}
	s.BaseChain, s.Hook, s.Type, s.Priority = s.base.chain, base.hook, base.kind, base.priority
	if s.Handle == 0 {
		return nil
	}
	id := ruleID{chainID{s.base.tableID, s.Chain}, s.Handle}
	rule, ok := t.resolved.rules[id]
	if !ok {
		var err error
		if rule, err = t.reader.ruleOf(id); err != nil {
			return err
		}
		t.resolved.rules[id] = rule
	}
	s.Rule = rule
	return nil
}

// link returns the name of an interface, or its number if it does not exist any more.
func (t *Tracer) link(index uint32) string {
	if index == 0 {
		return ""
	}
	if name, ok := t.resolved.links[index]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(index), 10)
	request := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(request[4:], index)
	if m, err := t.links.Get(unix.RTM_GETLINK, 0, request); err == nil {
		for typ, data := range netlink.All(netlink.After(m.Body, unix.SizeofIfInfomsg)) {
			if typ == unix.IFLA_IFNAME {
				name = netlink.Text(data)
			}
		}
	}
	t.resolved.links[index] = name
	return name
}

// getIn requests one object of a table of a family. If it does not exist, the result is nil.
func (c *Conn) getIn(family uint8, typ int, body netlink.Encoder) (map[uint16][]byte, error) {
	m, err := c.nl.Get(messageType(typ), 0, header(family, 0), body)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, b, err := attributes(m)
	if err != nil {
		return nil, err
	}
	return fields(b)
}

// baseOf reads the hook of a base chain.
func (c *Conn) baseOf(id chainID) (out baseOf, err error) {
	var of netlink.Encoder
	of.Text(unix.NFTA_CHAIN_TABLE, id.name)
	of.Text(unix.NFTA_CHAIN_NAME, id.chain)
	f, err := c.getIn(id.family, unix.NFT_MSG_GETCHAIN, of)
	if err != nil || f == nil {
		return out, err
	}
	hook, err := fields(f[unix.NFTA_CHAIN_HOOK])
	if err != nil {
		return out, err
	}
	out.hook, out.kind = hookOf(id.family, number(hook[unix.NFTA_HOOK_HOOKNUM])), netlink.Text(f[unix.NFTA_CHAIN_TYPE])
	out.priority = int(int32(number(hook[unix.NFTA_HOOK_PRIORITY])))
	return out, nil
}

// hookOf returns nft's name of a hook of a family.
func hookOf(family uint8, hook uint32) string {
	if name, ok := passed[families[family]][hook]; ok {
		return name
	}
	return hookName(hook)
}

// ruleOf reads a rule.
func (c *Conn) ruleOf(id ruleID) (out TracedRule, err error) {
	var of netlink.Encoder
	of.Text(unix.NFTA_RULE_TABLE, id.name)
	of.Text(unix.NFTA_RULE_CHAIN, id.chain)
	of.Uint64(unix.NFTA_RULE_HANDLE, id.handle)
	f, err := c.getIn(id.family, unix.NFT_MSG_GETRULE, of)
	if err != nil || f == nil {
		return out, err
	}
	r, err := readRule(f)
	if err != nil {
		return out, err
	}
	return TracedRule{Comment: r.comment, Text: r.text(), Reject: r.action == "reject", NAT: r.nat(), Packets: r.packets}, nil
}
