package reconcile

import (
	"errors"
	"log/slog"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Neighbors removes records of other network namespaces that share the state directory:
// those whose namespace is gone. Its rules and links went with it. All fields are needed.
type Neighbors struct {
	Records *store.Records
	// State asks the kernel whether a namespace exists.
	State func(masq.NodeNetNS) masq.NetNSState
	// Grace is how long the proof has to hold.
	Grace time.Duration
	Log   *slog.Logger

	gone map[string]time.Time // since when, by the ID of the records
}

// Run removes the records whose namespace has been gone for the grace. Records that do
// not name their namespace stay, and so do all that share their ID with a namespace of
// which there is no proof.
func (n *Neighbors) Run(now time.Time) error {
	others, err := n.Records.Others()
	if err != nil {
		return err
	}
	still := map[string]time.Time{}
	var errs []error
	for _, o := range others {
		gone, all, err := n.judge(o)
		errs = append(errs, err)
		if err != nil || len(gone) == 0 {
			continue
		}
		since, known := n.gone[o.ID()]
		if !known {
			since = now
		}
		if now.Sub(since) < n.Grace {
			still[o.ID()] = since
			continue
		}
		errs = append(errs, n.remove(o, gone, all))
	}
	n.gone = still
	return errors.Join(errs...)
}

// judge returns the records whose namespace is gone, and whether these are all.
func (n *Neighbors) judge(o *store.Records) (gone []store.Record, all bool, err error) {
	proved := map[masq.NodeNetNS]bool{}
	all = true
	err = o.Each(func(r store.Record, err error) bool {
		if err != nil || r.Evidence == nil || r.Evidence.Node == nil {
			all = false
			return true
		}
		node := *r.Evidence.Node
		if !proved[node] && n.State(node) != masq.NetNSGone {
			gone = nil
			return false
		}
		proved[node] = true
		gone = append(gone, r)
		return true
	})
	return gone, all, err
}

func (n *Neighbors) remove(o *store.Records, gone []store.Record, all bool) error {
	var errs []error
	for _, r := range gone {
		if err := o.Delete(r.Key); err != nil {
			errs = append(errs, err)
			continue
		}
		attrs := []any{"attachment", r.Identity(), "namespace", r.Evidence.Node.ID}
		if r.IPAM != "" {
			attrs = append(attrs, "leased", r.Addresses, "by", r.IPAM)
		}
		n.Log.Info("the network namespace of an attachment's node is gone: its record is removed; a lease is the IPAM plugin's to release", attrs...)
	}
	if all && len(errs) == 0 {
		errs = append(errs, o.DeleteAll(), o.PutNode(nil))
	}
	return errors.Join(errs...)
}
