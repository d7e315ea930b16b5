package reconcile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// egress is the egress addresses of policies that the node has, and the reserved ports.
type egress struct {
	found   ruleset.Egress
	named   []netip.Addr // the addresses that were looked up, sorted
	version uint64       // changes with found; 0 before the first lookup
}

// refreshEgress looks up each egress address that a policy names, which takes a few
// microseconds for each. It reports whether anything changed.
func (l *Loop) refreshEgress(node NodeConfig) (changed bool, err error) {
	ready, pending := l.representatives(node)
	all := slices.Concat(ready, pending)
	named := ruleset.NamedEgress(all, node.Sources)
	have, err := ruleset.EgressOf(named, l.deps.Host.HasAddress)
	if err != nil {
		l.countError("addresses")
		return false, fmt.Errorf("look up the egress addresses: %w", err)
	}
	e := &l.last.egress
	e.named = named
	if have.Reserved, err = l.reservedPorts(all, node.Sources); err != nil {
		l.deps.Log.Error("cannot list the ports of the node's services; the ports that were reserved stay reserved", "err", err)
		have.Reserved = e.found.Reserved
	}
	if e.version == 0 || !have.Equal(e.found) {
		e.found = have
		e.version++
		return true, nil
	}
	return false, nil
}

// reservedPorts returns the ports that the node keeps for its services. The kernel sends no
// notification when a service begins to listen, so a later sync finds it.
func (l *Loop) reservedPorts(attachments []masq.Attachment, sources ruleset.Sources) ([]masq.PortRange, error) {
	var chosen []masq.PortRange
	for _, a := range attachments {
		if a.Policy != nil {
			chosen = append(chosen, a.Policy.ToPorts...)
		}
	}
	if len(sources.Prefixes) > 0 {
		chosen = append(chosen, sources.Policy.ToPorts...)
	}
	ports, err := l.deps.ServicePorts(chosen)
	return ruleset.MergePorts(ports), err
}

// lostAddresses returns the egress addresses whose flows have to be deleted: addresses that
// were in use before and are not now, and missing addresses that no policy named before.
// inUse has each address that a policy names: true if flows leave with it. families has the
// address families of each policy's sources, by policy ID.
func (e *egress) lostAddresses(used []*masq.Policy, families map[string]map[masq.Family]bool, before map[netip.Addr]bool) (lost []netip.Addr, missing []ruleset.MissingEgress, inUse map[netip.Addr]bool) {
	inUse = map[netip.Addr]bool{}
	for _, p := range used {
		for _, f := range masq.Families {
			for _, a := range e.found.Of(*p, f) {
				inUse[a] = true
			}
		}
		missing = append(missing, e.found.Missing(*p, families[p.ID()])...)
	}
	// A record may have come since the addresses were looked up: the next sync looks up its own.
	missing = slices.DeleteFunc(missing, func(m ruleset.MissingEgress) bool { return !slices.Contains(e.named, m.Address) })
	for _, m := range missing {
		if _, known := before[m.Address]; !known {
			lost = append(lost, m.Address)
		}
		if !inUse[m.Address] {
			inUse[m.Address] = false
		}
	}
	for a, wasUsed := range before {
		if wasUsed && !inUse[a] {
			lost = append(lost, a)
		}
	}
	slices.SortFunc(lost, netip.Addr.Compare)
	return slices.Compact(lost), missing, inUse
}

// reportMissing stores in Stats which egress addresses the node does not have, and logs each
// change of these.
func (l *Loop) reportMissing(missing []ruleset.MissingEgress) {
	l.mu.Lock()
	before := l.stats.MissingEgress
	l.stats.MissingEgress = missing
	l.mu.Unlock()
	for _, m := range missing {
		switch {
		case slices.Contains(before, m):
		case m.Unused:
			l.deps.Log.Warn("the node has none of a policy's egress addresses of a family; no attachment of the policy has an address of the family", "policy", m.Policy, "missing", m.Address)
		case m.Dropped:
			l.deps.Log.Error("the node has none of a policy's egress addresses; the policy's flows are dropped", "policy", m.Policy, "missing", m.Address, "remedy", "add the address to an interface")
		default:
			l.deps.Log.Warn("the node does not have an egress address; new flows leave with the policy's other addresses", "policy", m.Policy, "missing", m.Address)
		}
	}
	for _, m := range before {
		if !slices.ContainsFunc(missing, func(x ruleset.MissingEgress) bool { return x.Policy == m.Policy && x.Address == m.Address }) {
			l.deps.Log.Info("an egress address is no longer missing", "policy", m.Policy, "address", m.Address)
		}
	}
}
