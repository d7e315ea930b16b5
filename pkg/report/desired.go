package report

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Desired is the desired state that follows from the records and the node's policy.
type Desired struct {
	// Table has the rules of ready attachments and sources. It is empty if there are none;
	// then the table should not exist.
	Table ruleset.Table
	// Pending has the rules of pending attachments, whose ADD or DEL is running. These rules
	// may exist, but need not.
	Pending ruleset.Table
	// Attachments are the attachments of the records, in their order, with their active
	// policies.
	Attachments []masq.Attachment
	Sources     ruleset.Sources
	// Egress has the egress addresses of policies that the node has. If the addresses of
	// the node cannot be read, Err is the error, and Egress has all addresses of policies.
	Egress ruleset.Egress
	Err    error
}

// DesiredOf returns the desired state of records, which store.Sort has sorted, and of the
// node's policy, which may be nil. has reports whether the node has an address. reserved are
// ports that translation must not use.
func DesiredOf(records []store.Record, node *store.Node, has func(netip.Addr) (bool, error), reserved ...masq.PortRange) Desired {
	policy := masq.Default()
	var d Desired
	if node != nil {
		policy = node.Policy
		policy.Node = true
		d.Sources = ruleset.Sources{Prefixes: node.Sources, Policy: policy}
	}
	// Equal policies share one value, so that its ID is computed once.
	shared := map[string]*masq.Policy{}
	var ready, pending []masq.Attachment
	for _, r := range records {
		a := r.Attachment
		if a.Policy != nil {
			p := *a.Policy
			if p.Node {
				p = policy.For(p)
			}
			digest := p.Digest()
			if shared[digest] == nil {
				shared[digest] = &p
			}
			a.Policy = shared[digest]
			if r.Ready {
				ready = append(ready, a)
			} else {
				pending = append(pending, a)
			}
		}
		d.Attachments = append(d.Attachments, a)
	}
	named := ruleset.NamedEgress(d.Attachments, d.Sources)
	if d.Egress, d.Err = ruleset.EgressOf(named, has); d.Err != nil {
		d.Egress = ruleset.Egress{Addresses: map[netip.Addr]bool{}}
		for _, a := range named {
			d.Egress.Addresses[a] = true
		}
	}
	d.Egress.Reserved = reserved
	if len(ready) > 0 || len(d.Sources.Prefixes) > 0 {
		d.Table = ruleset.For(ready, d.Sources, d.Egress)
	}
	if len(pending) > 0 {
		d.Pending = ruleset.For(pending, ruleset.Sources{}, d.Egress)
	}
	return d
}
