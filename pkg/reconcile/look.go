package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// memory is what the last sync knew.
type memory struct {
	// generation is the one of the ruleset up to which every transaction is explained:
	// the table is what the records and the configuration desire. 0 is none yet.
	generation uint32
	node       Node // the configuration that the kernel was made to have
	active     map[*masq.Policy]*masq.Policy
	complete   *complete
	uses       map[Use]bool // what the records needed of the structure
	// full says that the whole table is to be compared, structure that its structure is,
	// and elements which of its elements are.
	full, structure bool
	elements        []elementKey
	// spared are elements that stay because of a record, by its digest, that does not
	// name them: they are judged again when it changes.
	spared map[string][]elementKey
	// unverified is the kernel's generation at the last resync, where that was not
	// explained by then.
	unverified uint32

	sources []netip.Prefix // those whose flows were looked for
	egress  egress
	snat    map[netip.Addr]bool // what policies name: true where flows leave with it
	flows   owedFlows
	gone    []netip.Addr // egress addresses that are gone, whose flows are still there
}

// look compares everything, and mends it. worked is false where nothing had
// changed, so that there was nothing to compare; drifted is true where something was
// not as it had been made.
func (l *Loop) sync(ctx context.Context, begun time.Time, r request) (worked, drifted bool) {
	worked, changes, err := l.syncNode(ctx, r.scope)
	took := time.Since(begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Started = time.Time{}
	l.stats.SyncTime += took
	l.stats.Syncs++
	switch {
	case err != nil:
		worked = true
		l.stats.Failures++
		l.pending.merge(r)
		if problem := err.Error(); problem != l.stats.Problem {
			l.stats.Problem = problem // said once for each change of it
			l.Log.Error("cannot bring the kernel into agreement with the records", "err", err)
		}
	case l.stats.Problem != "":
		l.Log.Info("the kernel can be brought into agreement with the records again")
		fallthrough
	default:
		l.stats.Problem, l.stats.LastSync = "", time.Now()
	}
	if len(changes) == 0 {
		return worked, false
	}
	l.stats.repaired(took)
	for _, c := range changes {
		l.stats.Repairs[string(c.Kind)]++
	}
	logRepairs(l.Log, changes, took)
	return true, true
}

// mendForwarding makes sure that answers find their way back to the links that are
// ours.
func (l *Loop) mendForwarding(records []*store.Record) (changes []nft.Difference, err error) {
	for _, f := range masq.Families {
		own := func(r *store.Record) bool { // what others wired is theirs
			return r.Ready && !r.Chained && slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return masq.FamilyOf(a) == f })
		}
		if !slices.ContainsFunc(records, own) {
			continue
		}
		names := sync.OnceValue(func() map[string]bool {
			all := map[string]bool{}
			for _, r := range records {
				if own(r) {
					all[r.HostName()] = true
				}
			}
			return all
		})
		put, failed := l.Forward(func(name string) bool { return names()[name] }, []masq.Family{f})
		for _, setting := range put {
			changes = append(changes, nft.Difference{Kind: forwarding, Reason: masq.Changed, Object: setting, Detail: "turned off"})
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		l.failed(string(forwarding))
	}
	return changes, err
}

// forwarding is the kind of change that is the host's.
const forwarding nft.Kind = "forwarding"

func isSettled(r *store.Record) bool { return r != nil && r.Policy != nil && r.Ready }

// policies returns those in use, each once.
func policies(all []masq.Attachment, node Node) []*masq.Policy {
	var out []*masq.Policy
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
