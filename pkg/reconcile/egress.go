package reconcile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// egress is the egress addresses that policies name, and which of them the node has.
type egress struct {
	have    ruleset.Egress
	version uint64 // another one for each content of have; 0 is before the first
}

// refreshEgress asks for each address that is named, a few microseconds for each. It
// reports whether another set of them is to be used.
func (l *Loop) refreshEgress(node Node) (changed bool, err error) {
	ready, pending := l.representatives(node)
	have, err := ruleset.EgressOf(ruleset.NamedEgress(append(ready, pending...), node.Sources), l.HasAddress)
	if err != nil {
		l.failed("addresses")
		return false, fmt.Errorf("look up the egress addresses: %w", err)
	}
	e := &l.last.egress
	if have.Reserved, err = l.reserved(append(ready, pending...), node.Sources); err != nil {
		l.Log.Error("cannot list the ports of the node's services; the ports that were reserved stay reserved", "err", err)
		have.Reserved = e.have.Reserved
	}
	if e.version == 0 || !have.Equal(e.have) {
		e.have = have
		e.version++
		return true, nil
	}
	return false, nil
}

// reserved returns the ports that the node keeps for its services. A service that began
// to listen is found by the next sync, as the kernel does not notify of it.
func (l *Loop) reserved(attachments []masq.Attachment, sources ruleset.Sources) ([]masq.PortRange, error) {
	if l.Services == nil {
		return nil, nil
	}
	var chosen []masq.PortRange
	for _, a := range attachments {
		if a.Policy != nil {
			chosen = append(chosen, a.Policy.ToPorts...)
		}
	}
	if len(sources.Prefixes) > 0 {
		chosen = append(chosen, sources.Policy.ToPorts...)
	}
	ports, err := l.Services(chosen)
	return ruleset.MergePorts(ports), err
}

// lost returns the egress addresses whose flows have to be deleted: addresses that were
// in use and are not any more, and missing addresses that were not known to be missing.
// now has every address that the policies name: true where flows leave with it. inUse
// has the families of each policy's sources, by its ID.
func (e *egress) lost(used []*masq.Policy, inUse map[string]map[masq.Family]bool, before map[netip.Addr]bool) (lost []netip.Addr, missing []ruleset.MissingEgress, now map[netip.Addr]bool) {
	now = map[netip.Addr]bool{}
	for _, p := range used {
		for _, f := range masq.Families {
			for _, a := range e.have.Of(*p, f) {
				now[a] = true
			}
		}
		missing = append(missing, e.have.Missing(*p, inUse[p.ID()])...)
	}
	for _, m := range missing {
		if _, known := before[m.Address]; !known {
			lost = append(lost, m.Address)
		}
		if !now[m.Address] {
			now[m.Address] = false
		}
	}
	for a, usable := range before {
		if usable && !now[a] {
			lost = append(lost, a)
		}
	}
	slices.SortFunc(lost, netip.Addr.Compare)
	return slices.Compact(lost), missing, now
}

// reportMissing notes the egress addresses that the node does not have, and logs each
// change of them.
func (l *Loop) reportMissing(missing []ruleset.MissingEgress) {
	l.mu.Lock()
	before := l.stats.MissingEgress
	l.stats.MissingEgress = missing
	l.mu.Unlock()
	for _, m := range missing {
		if slices.Contains(before, m) {
			continue
		}
		if m.Unused {
			l.Log.Warn("the node has none of a policy's egress addresses of a family; no attachment of the policy has an address of the family", "policy", m.Policy, "missing", m.Address)
			continue
		}
		if m.Dropped {
			l.Log.Error("the node has none of a policy's egress addresses; the policy's flows are dropped", "policy", m.Policy, "missing", m.Address, "do", "add the address to an interface")
			continue
		}
		l.Log.Warn("the node does not have an egress address; new flows leave with the policy's others", "policy", m.Policy, "missing", m.Address)
	}
	for _, m := range before {
		if !slices.ContainsFunc(missing, func(x ruleset.MissingEgress) bool { return x.Policy == m.Policy && x.Address == m.Address }) {
			l.Log.Info("an egress address is no longer missing", "policy", m.Policy, "address", m.Address)
		}
	}
}
