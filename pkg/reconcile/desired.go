package reconcile

import (
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// isReady reports whether a record has a policy and its attachment is ready. An attachment is
// pending, not ready, while the plugin adds or removes it.
func isReady(r *store.Record) bool { return r != nil && r.Policy != nil && r.Ready }

// elementKey names an element of a live set.
type elementKey struct{ set, key string }

// desired is the desired elements of one address, or of one link.
type desired struct {
	ready   map[elementKey]ruleset.LiveElement
	pending []ruleset.LiveElement // elements of pending attachments, which may be present
}

// desiredOf returns the desired elements of an address or a link, according to the records
// in memory. If several ready attachments have an address, it belongs to the latest.
func (l *Loop) desiredOf(of ruleset.Subject) desired {
	d := desired{ready: map[elementKey]ruleset.LiveElement{}}
	claims := l.deps.Records.claimsOf(of)
	owner := -1
	for i, r := range claims {
		if isReady(r) {
			owner = i
		}
	}
	for i, r := range claims {
		for _, e := range l.elementsOf(r, func(netip.Addr) bool { return !r.Ready || i == owner }) {
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
	return d.ready[elementKey{e.Set, e.Key}] == e || slices.Contains(d.pending, e)
}

// elementsOf returns the elements of a record under its active policy.
func (l *Loop) elementsOf(r *store.Record, owns func(netip.Addr) bool) []ruleset.LiveElement {
	a := r.Attachment
	a.Policy = l.activePolicy(a.Policy)
	return ruleset.Live(a, owns)
}

// activePolicy returns the policy that applies to attachments with a record's policy: the
// node's policy if their network names none, else the record's; with the local MSS clamps.
func (l *Loop) activePolicy(p *masq.Policy) *masq.Policy {
	if !l.last.node.replaces(p) {
		return p
	}
	if l.last.active == nil {
		l.last.active = map[*masq.Policy]*masq.Policy{}
	}
	active := l.last.active[p]
	if active == nil {
		one := []masq.Attachment{{Policy: p}}
		l.last.node.apply(one)
		active = one[0].Policy
		l.last.active[p] = active
	}
	return active
}

// representatives returns one attachment for each set of requirements on the structure,
// separately for ready and for pending attachments.
func (l *Loop) representatives(node NodeConfig) (ready, pending []masq.Attachment) {
	for q := range l.deps.Records.allRequirements() {
		a := masq.Attachment{Policy: q.policy}
		if q.v4 {
			a.Addresses = append(a.Addresses, netip.IPv4Unspecified())
		}
		if q.v6 {
			a.Addresses = append(a.Addresses, netip.IPv6Unspecified())
		}
		if q.isReady {
			ready = append(ready, a)
		} else {
			pending = append(pending, a)
		}
	}
	node.apply(ready)
	node.apply(pending)
	return ready, pending
}

// skeleton returns the structure that the records need: the table without the elements of
// attachments, separately for ready and for pending attachments. Its cost is proportional to
// the number of policies. A node without attachments and sources needs no table.
func (l *Loop) skeleton(node NodeConfig) (ready, pending ruleset.Table) {
	r, p := l.representatives(node)
	if len(r) > 0 || len(node.Sources.Prefixes) > 0 {
		ready = ruleset.For(r, node.Sources, l.last.egress.found).Skeleton()
	}
	if len(p) > 0 {
		pending = ruleset.For(p, ruleset.Sources{}, l.last.egress.found).Skeleton()
	}
	return ready, pending
}

// maxComplete is the number of records up to which the complete table is cached, and made
// in one transaction if it is missing.
const maxComplete = 5000

// completeTable caches the table with all elements, so that a repair need not make it. It
// takes 400 bytes for each attachment.
type completeTable struct {
	records, node, egress uint64 // versions that the table was made of
	table                 ruleset.Table
}

// completeTable returns the table with the elements of all ready attachments.
func (l *Loop) completeTable(node NodeConfig) ruleset.Table {
	all := l.deps.Records.Snapshot()
	if c := l.last.complete; c != nil && c.records == all.Version && c.node == node.Version && c.egress == l.last.egress.version {
		return c.table
	}
	table := ruleset.For(node.Attachments(all.Records), node.Sources, l.last.egress.found)
	if l.last.complete = nil; len(all.Records) <= maxComplete {
		l.last.complete = &completeTable{all.Version, node.Version, l.last.egress.version, table}
	}
	return table
}

// distinctPolicies returns the policies of attachments and of the sources, each once.
func distinctPolicies(all []masq.Attachment, node NodeConfig) (out []*masq.Policy) {
	seen, ids := map[*masq.Policy]bool{}, map[string]bool{}
	add := func(p *masq.Policy) {
		if seen[p] {
			return
		}
		seen[p] = true
		if id := p.ID(); !ids[id] {
			ids[id] = true
			out = append(out, p)
		}
	}
	for _, a := range all {
		add(a.Policy)
	}
	if len(node.Sources.Prefixes) > 0 {
		add(&node.Sources.Policy)
	}
	return out
}
