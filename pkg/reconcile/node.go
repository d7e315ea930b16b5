package reconcile

import (
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Node is the configuration of the node.
type Node struct {
	// Version is another one for each content.
	Version uint64
	// Policy is that of attachments whose network names none; nil where the node
	// has none either, and they get the default.
	Policy *masq.Policy
	// Sources are addresses that other plugins wired.
	Sources ruleset.Sources
	// Resync is the time between looks that nobody asked for, if the
	// configuration says so.
	Resync time.Duration
	// Read is when the configuration was last read well; Fault what was wrong with
	// it since, empty where nothing was.
	Read  time.Time
	Fault string
}

// Attachments returns those of the records that are in place, under the policies that
// are in force.
func (n Node) Attachments(records []*store.Record) []masq.Attachment {
	ready := make([]masq.Attachment, 0, len(records))
	for _, r := range records {
		if isReady(r) {
			ready = append(ready, r.Attachment)
		}
	}
	n.apply(ready)
	return ready
}

// Same reports whether two configurations ask for the same.
func (n Node) Same(o Node) bool {
	return (n.Policy == nil) == (o.Policy == nil) && (n.Policy == nil || samePolicy(n.Policy, o.Policy)) &&
		slices.Equal(n.Sources.Prefixes, o.Sources.Prefixes) && n.Resync == o.Resync
}

// samePolicy reports whether two policies make the same rules for every attachment. No
// list of annotations is not an empty one.
func samePolicy(a, b *masq.Policy) bool {
	return a.Equal(*b) && (a.AllowAnnotations == nil) == (b.AllowAnnotations == nil) && slices.Equal(a.AllowAnnotations, b.AllowAnnotations)
}

// apply gives attachments that have the node's policy the one that is in force.
// Those that had the same share one.
func (n Node) apply(all []masq.Attachment) {
	policy := masq.Default()
	if n.Policy != nil {
		policy = *n.Policy
	}
	made := map[*masq.Policy]*masq.Policy{}
	for i, a := range all {
		if a.Policy == nil || !a.Policy.Node {
			continue
		}
		p := made[a.Policy]
		if p == nil {
			fresh := policy.For(*a.Policy)
			p = &fresh
			made[a.Policy] = p
		}
		all[i].Policy = p
	}
}
