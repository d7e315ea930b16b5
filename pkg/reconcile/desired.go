package reconcile

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// elementKey names an element of a live set.
type elementKey struct{ set, key string }

// desired is what the kernel should have for one address, or one link.
type desired struct {
	ready   map[elementKey]ruleset.LiveElement
	pending []ruleset.LiveElement // elements of attachments that the plugin is adding or removing
}

// desiredOf returns what the kernel should have for an address, or a link, as the
// records in memory say it.
func (l *Loop) desiredOf(of ruleset.Subject) desired {
	d := desired{ready: map[elementKey]ruleset.LiveElement{}}
	claims := l.Records.Claims(of)
	last := -1 // the later attachment has the address
	for i, r := range claims {
		if isSettled(r) {
			last = i
		}
	}
	for i, r := range claims {
		for _, e := range l.elementsOf(r, func(netip.Addr) bool { return !r.Ready || i == last }) {
			switch {
			case ruleset.SubjectOf(e.Key) != of:
			case r.Ready:
				d.ready[elementKey{e.Set, e.Key}] = e
			default:
				d.pending = append(d.pending, e)
			}
		}
	}
	return d
}

// allows reports whether an element may stay unchanged.
func (d desired) allows(e ruleset.LiveElement) bool {
	if d.ready[elementKey{e.Set, e.Key}] == e {
		return true
	}
	return slices.Contains(d.pending, e)
}

// elementsOf returns the elements of a record, under the active policy.
func (l *Loop) elementsOf(r *store.Record, owns func(netip.Addr) bool) []ruleset.LiveElement {
	a := r.Attachment
	a.Policy = l.active(a.Policy)
	return ruleset.Live(a, owns)
}

// active is the policy that applies in place of a record's: the node's where the
// network names none.
func (l *Loop) active(p *masq.Policy) *masq.Policy {
	if p == nil || !p.Node {
		return p
	}
	if l.last.active == nil {
		l.last.active = map[*masq.Policy]*masq.Policy{}
	}
	known := l.last.active[p]
	if known == nil {
		one := []masq.Attachment{{Policy: p}}
		l.last.node.apply(one)
		known = one[0].Policy
		l.last.active[p] = known
	}
	return known
}

// representatives returns one attachment for each set of requirements on the structure,
// separately for attachments that are ready and for attachments that the plugin is
// adding or removing.
func (l *Loop) representatives(node Node) (ready, pending []masq.Attachment) {
	for u := range l.Records.Uses() {
		a := masq.Attachment{Policy: u.Policy}
		if u.V4 {
			a.Addresses = append(a.Addresses, netip.IPv4Unspecified())
		}
		if u.V6 {
			a.Addresses = append(a.Addresses, netip.IPv6Unspecified())
		}
		if u.Ready {
			ready = append(ready, a)
		} else {
			pending = append(pending, a)
		}
	}
	node.apply(ready)
	node.apply(pending)
	return ready, pending
}

// skeleton returns the structure that the records need, separately for records that are
// ready and for records of attachments that the plugin is adding or removing. Its cost
// follows the number of policies.
func (l *Loop) skeleton(node Node) (ready, pending ruleset.Table) {
	in, moving := l.representatives(node)
	// A node without attachments has no table, unless the plugin is making one.
	if len(in) > 0 || len(node.Sources.Prefixes) > 0 {
		ready = ruleset.For(in, node.Sources, l.last.egress.have).Skeleton()
	}
	if len(moving) > 0 {
		pending = ruleset.For(moving, ruleset.Sources{}, l.last.egress.have).Skeleton()
	}
	return ready, pending
}

// complete returns the table with the elements of all attachments that are in place.
func (l *Loop) complete(node Node) ruleset.Table {
	all := l.Records.Snapshot()
	if c := l.last.complete; c != nil && c.records == all.Version && c.node == node.Version && c.egress == l.last.egress.version {
		return c.table
	}
	table := ruleset.For(node.Attachments(all.Records), node.Sources, l.last.egress.have)
	if l.last.complete = nil; len(all.Records) <= maxComplete {
		l.last.complete = &complete{all.Version, node.Version, l.last.egress.version, table}
	}
	return table
}

// complete is the table of the last time it was made, so that a repair need not make
// it: as it takes 400 bytes for each attachment, only on nodes that are not crowded.
type complete struct {
	records, node, egress uint64
	table                 ruleset.Table
}

// maxComplete is the number of records up to which the complete table is kept, and made
// in one transaction where it is missing.
const maxComplete = 5000
