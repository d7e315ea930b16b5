package reconcile

import (
	"maps"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// NodeConfig is the configuration of the node.
type NodeConfig struct {
	// Version changes with the content.
	Version uint64
	// Policy is the policy of attachments whose network names none. If it is nil, they have
	// the default policy.
	Policy *masq.Policy
	// Sources are addresses of containers that other plugins attached (sourceCIDRs).
	Sources ruleset.Sources
	// LocalMSSClamps apply to all policies. They are in Sources too.
	LocalMSSClamps masq.MSSClamps
	// Resync is the time between resyncs; 0 if the configuration does not set it.
	Resync time.Duration
	// Read is the time when a valid configuration was last read. Fault is why the present
	// configuration is invalid; empty if it is valid.
	Read  time.Time
	Fault string
}

// Attachments returns the ready attachments of records, with their active policies.
func (n NodeConfig) Attachments(records []*store.Record) []masq.Attachment {
	ready := make([]masq.Attachment, 0, len(records))
	for _, r := range records {
		if isReady(r) {
			ready = append(ready, r.Attachment)
		}
	}
	n.apply(ready)
	return ready
}

// Same reports whether two configurations desire the same state.
func (n NodeConfig) Same(o NodeConfig) bool {
	return (n.Policy == nil) == (o.Policy == nil) && (n.Policy == nil || samePolicy(n.Policy, o.Policy)) &&
		slices.Equal(n.Sources.Prefixes, o.Sources.Prefixes) && n.Resync == o.Resync && maps.Equal(n.LocalMSSClamps, o.LocalMSSClamps)
}

// samePolicy reports whether two policies make the same rules for every attachment. A
// missing list of annotations differs from an empty one.
func samePolicy(a, b *masq.Policy) bool {
	return a.Equal(*b) && (a.AllowAnnotations == nil) == (b.AllowAnnotations == nil) && slices.Equal(a.AllowAnnotations, b.AllowAnnotations)
}

// apply replaces the policy of attachments by the active one: for attachments that have the
// node's policy it is that, and all have the local MSS clamps. Attachments that shared a policy
// share the new one.
func (n NodeConfig) apply(all []masq.Attachment) {
	policy := masq.Default()
	if n.Policy != nil {
		policy = *n.Policy
	}
	active := map[*masq.Policy]*masq.Policy{}
	for i, a := range all {
		if !n.replaces(a.Policy) {
			continue
		}
		p := active[a.Policy]
		if p == nil {
			made := *a.Policy
			if made.Node {
				made = policy.For(made)
			}
			made.LocalMSSClamps = n.LocalMSSClamps
			p = &made
			active[a.Policy] = p
		}
		all[i].Policy = p
	}
}

// replaces reports whether the active policy differs from the policy of a record.
func (n NodeConfig) replaces(p *masq.Policy) bool {
	return p != nil && (p.Node || len(n.LocalMSSClamps) > 0)
}
