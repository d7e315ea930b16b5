package report

import (
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Desired is what the records and the node's policy ask for, as masqd reads them.
type Desired struct {
	// Table is that of the attachments that are in place; it is empty, and there
	// should be none, where there are neither any nor sources.
	Table ruleset.Table
	// Pending is that of the attachments that are being added or removed: what of it
	// is there may be there.
	Pending ruleset.Table
	// Attachments are those of the records, in their order, with the policy that is
	// in force.
	Attachments []masq.Attachment
	Sources     ruleset.Sources
	// Egress is the egress addresses that policies name and the node has.
	// Err is why the node's addresses are not known, nil otherwise: then each
	// address that is named counts as one of the node.
	Egress ruleset.Egress
	Err    error
}

// DesiredOf joins records, as store.Sort has them, with the node's policy, which
// may be nil. has reports whether the node has an address. reserved are the ports that
// the table keeps for the node.
func DesiredOf(records []store.Record, node *store.Node, has func(netip.Addr) (bool, error), reserved ...masq.PortRange) Desired {
	policy := masq.Default()
	var d Desired
	if node != nil {
		policy = node.Policy
		policy.Node = true
		d.Sources = ruleset.Sources{Prefixes: node.Sources, Policy: policy}
	}
	// An ID is a digest, which attachments of one policy share.
	shared := map[string]*masq.Policy{}
	var settled, moving []masq.Attachment
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
				settled = append(settled, a)
			} else {
				moving = append(moving, a)
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
	if len(settled) > 0 || len(d.Sources.Prefixes) > 0 {
		d.Table = ruleset.For(settled, d.Sources, d.Egress)
	}
	if len(moving) > 0 {
		d.Pending = ruleset.For(moving, ruleset.Sources{}, d.Egress)
	}
	return d
}
