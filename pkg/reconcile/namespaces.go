package reconcile

import (
	"errors"
	"log/slog"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// namespaceCleanup removes the records of other nodes that no longer exist. Such a node is a
// network namespace that shares the state directory. The kernel deleted its rules and links
// together with the namespace.
type namespaceCleanup struct {
	records *store.Records // of this node
	state   func(masq.NodeNetNS) masq.NetNSState
	grace   time.Duration // how long the proof has to hold
	log     *slog.Logger

	staleSince map[string]time.Time // by the ID of the records
}

// run removes the records of namespaces that have not existed during the grace period. A
// record that does not name its namespace stays. All records stay whose ID is also that of a
// namespace that may exist.
func (c *namespaceCleanup) run(now time.Time) error {
	others, err := c.records.OtherNodes()
	if err != nil {
		return err
	}
	staleSince := map[string]time.Time{}
	var errs []error
	for _, o := range others {
		stale, all, err := c.stale(o)
		errs = append(errs, err)
		if err != nil || len(stale) == 0 {
			continue
		}
		since, known := c.staleSince[o.ID()]
		if !known {
			since = now
		}
		if now.Sub(since) < c.grace {
			staleSince[o.ID()] = since
			continue
		}
		errs = append(errs, c.remove(o, stale, all))
	}
	c.staleSince = staleSince
	return errors.Join(errs...)
}

// stale returns the records with a namespace that does not exist, and whether these are
// all records of their node.
func (c *namespaceCleanup) stale(o *store.Records) (stale []store.Record, all bool, err error) {
	proved := map[masq.NodeNetNS]bool{}
	all = true
	err = o.Each(func(r store.Record, err error) bool {
		if err != nil || r.Evidence == nil || r.Evidence.Node == nil {
			all = false
			return true
		}
		node := *r.Evidence.Node
		if !proved[node] && c.state(node) != masq.NetNSRemoved {
			stale = nil
			return false
		}
		proved[node] = true
		stale = append(stale, r)
		return true
	})
	return stale, all, err
}

// remove deletes stale records, and everything of their node if these are all.
func (c *namespaceCleanup) remove(o *store.Records, stale []store.Record, all bool) error {
	var errs []error
	for _, r := range stale {
		if err := o.Delete(r.Key); err != nil {
			errs = append(errs, err)
			continue
		}
		c.log.Info("the network namespace of an attachment's node no longer exists: its record is removed; a lease is left to its IPAM plugin",
			withLease(r, "attachment", r.Identity(), "namespace", r.Evidence.Node.ID)...)
	}
	if all && len(errs) == 0 {
		errs = append(errs, o.DeleteAll(), o.PutNode(nil))
	}
	return errors.Join(errs...)
}

// withLease adds the leased addresses of a record to the attributes of a log line.
func withLease(r store.Record, attrs ...any) []any {
	if r.IPAM == "" {
		return attrs
	}
	return append(attrs, "leased", r.Addresses, "ipam", r.IPAM)
}
