package reconcile

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// maxRetiredAge is how long a retired record without a lease is kept. A record with a
	// lease is kept until GC releases the lease.
	maxRetiredAge = 24 * time.Hour
	// maxRetired is the maximum number of retired records.
	maxRetired = 1000
)

// cleanup removes stale attachments: their container no longer exists and its runtime did
// not call DEL (containerd does not call GC either). If later evidence shows that the
// container exists, the attachment is restored.
type cleanup struct {
	records  *store.Records
	evidence store.Probes
	grace    time.Duration // how long the proof has to hold
	log      *slog.Logger

	stale       map[masq.Key]time.Time // since when
	retired     []store.Retired
	retiredRead bool // retired has been read from the directory
}

// isDue reports whether the records have to be judged although no link was deleted: the
// end of a container need not delete a link of the node.
func (c *cleanup) isDue(records []*store.Record) bool {
	return len(c.stale) > 0 || !c.retiredRead || len(c.retired) > 0 || slices.ContainsFunc(records, func(r *store.Record) bool {
		return !r.Ready || r.Evidence != nil && r.Evidence.NetNS != nil
	})
}

// run removes the records of stale attachments; the next sync removes their rules. It
// restores retired records with a container that exists. It logs leases, which only the
// IPAM plugin can release.
func (c *cleanup) run(now time.Time, records []*store.Record) (removed, restored int, err error) {
	check := &store.ContainerCheck{Probes: c.evidence, ReadRecord: c.records.Get}
	stale := map[masq.Key]time.Time{}
	var errs []error
	for _, r := range records {
		v, err := check.Check(r)
		since, known := c.stale[r.Key]
		switch {
		case err != nil:
			errs = append(errs, err)
			if known {
				stale[r.Key] = since
			}
			continue
		case v.GoneReason == "":
			continue
		case !known:
			since = now
		}
		if now.Sub(since) < c.grace {
			stale[r.Key] = since
			continue
		}
		if err := c.retire(now, r, v); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
		c.log.Warn("stale attachment: its container no longer exists and DEL was not called; its rules are removed; a lease is left to its IPAM plugin",
			withLease(*r, "attachment", r.Identity(), "proof", v.GoneReason, "duration", now.Sub(since))...)
	}
	c.stale = stale
	restored, err = c.restore(now, check)
	return removed, restored, errors.Join(append(errs, err)...)
}

// retire takes a record out of use, unless it has been rewritten since it was judged. If
// the proof may be wrong, or if there is a lease, it keeps the record as a retired one: GC
// releases the leases of retired records too.
func (c *cleanup) retire(now time.Time, r *store.Record, v store.Verdict) error {
	whole, found, err := c.records.Get(r.Key)
	if err != nil || !found || whole.Ready != r.Ready || !whole.Created.Equal(r.Created) {
		return err
	}
	if v.Certain && whole.IPAM == "" {
		return c.records.Delete(r.Key)
	}
	if err := c.records.Retire(r.Key); err != nil {
		return err
	}
	c.retired = append(c.retired, store.Retired{Record: whole, Since: now})
	return nil
}

// restore puts retired records back into use if their container exists, and deletes
// retired records that are too old or too many.
func (c *cleanup) restore(now time.Time, check *store.ContainerCheck) (restored int, err error) {
	if !c.retiredRead {
		c.retired, err = c.records.Retired()
		c.retiredRead = err == nil // after an error the next run reads them again
	}
	errs := []error{err}
	excess := len(c.retired) - maxRetired
	kept := c.retired[:0]
	for i, r := range c.retired {
		v, err := check.Check(&r.Record)
		switch {
		case err != nil:
		case v.Alive && r.Ready:
			var done bool
			if done, err = c.records.Restore(r.Key); err == nil {
				if done {
					restored++
					c.log.Warn("the container of an attachment that was removed as stale exists: its rules are restored", "attachment", r.Identity())
				}
				continue
			}
		case i < excess || r.IPAM == "" && now.Sub(r.Since) > maxRetiredAge:
			if err = c.records.Forget(r.Key); err == nil {
				continue
			}
		}
		errs = append(errs, err)
		kept = append(kept, r)
	}
	c.retired = kept
	return restored, errors.Join(errs...)
}
