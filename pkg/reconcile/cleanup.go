package reconcile

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Cleanup removes attachments whose container is gone and whose runtime never called
// DEL; containerd does not call GC either. What it has removed comes back when the
// evidence of the container does. All fields are needed.
type Cleanup struct {
	Kernel  store.Kernel
	Records CleanupRecords
	// Grace is how long the proof has to hold: a runtime may be about to call DEL.
	Grace time.Duration
	Log   *slog.Logger

	gone    map[masq.Key]time.Time // since when
	retired []store.Retired
	read    bool // retired is what the directory has
}

// CleanupRecords are the records of the node, as store.Records has them.
type CleanupRecords interface {
	Get(masq.Key) (store.Record, bool, error)
	Delete(masq.Key) error
	Retire(masq.Key) error
	Restore(masq.Key) (bool, error)
	Forget(masq.Key) error
	Retired() ([]store.Retired, error)
}

// The records that were retired are kept for this time, and up to this number.
const (
	retiredAge = 24 * time.Hour
	maxRetired = 1000
)

// Due reports whether the records have to be judged although no link was deleted: the
// end of a container need not delete a link of the node.
func (s *Cleanup) Due(records []*store.Record) bool {
	return len(s.gone) > 0 || !s.read || len(s.retired) > 0 || slices.ContainsFunc(records, func(r *store.Record) bool {
		return !r.Ready || r.Evidence != nil && r.Evidence.NetNS != nil
	})
}

// CleanupResult is what a run has done.
type CleanupResult struct{ Removed, Restored int }

// Run weighs the evidence of all records: those whose container is gone are removed,
// and the rules go with the next sync; retired ones whose container is there are
// restored. The log names leases that are left.
func (s *Cleanup) Run(now time.Time, records []*store.Record) (done CleanupResult, err error) {
	q := &store.Inquiry{Kernel: s.Kernel, Whole: s.Records.Get}
	still := map[masq.Key]time.Time{}
	var errs []error
	for _, r := range records {
		v, err := q.Judge(r)
		if err != nil {
			errs = append(errs, err)
			if since, known := s.gone[r.Key]; known {
				still[r.Key] = since
			}
			continue
		}
		if v.Gone == "" {
			continue
		}
		since, known := s.gone[r.Key]
		if !known {
			since = now
		}
		if now.Sub(since) < s.Grace {
			still[r.Key] = since
			continue
		}
		if err := s.retire(now, r, v); err != nil {
			errs = append(errs, err)
			continue
		}
		done.Removed++
		attrs := []any{"attachment", r.Identity(), "proof", v.Gone, "for", now.Sub(since)}
		if r.IPAM != "" {
			attrs = append(attrs, "leased", r.Addresses, "by", r.IPAM)
		}
		s.Log.Warn("a container is gone and DEL never came: its rules are removed; its lease is the IPAM plugin's to release", attrs...)
	}
	s.gone = still
	done.Restored, err = s.restore(now, q)
	return done, errors.Join(append(errs, err)...)
}

// retire takes a record out of use, unless it has been rewritten since. It keeps the
// record aside if the proof may be wrong.
func (s *Cleanup) retire(now time.Time, r *store.Record, v store.Verdict) error {
	whole, found, err := s.Records.Get(r.Key)
	if err != nil || !found || whole.Ready != r.Ready || !whole.Created.Equal(r.Created) {
		return err
	}
	// GC releases leases of attachments that have a record, or had: a retired one will do.
	if v.Certain && whole.IPAM == "" {
		return s.Records.Delete(r.Key)
	}
	if err := s.Records.Retire(r.Key); err != nil {
		return err
	}
	s.retired = append(s.retired, store.Retired{Record: whole, Since: now})
	return nil
}

// restore puts retired records into use again if their container exists after all, and
// forgets records that were retired long ago.
func (s *Cleanup) restore(now time.Time, q *store.Inquiry) (restored int, err error) {
	if !s.read {
		s.retired, err = s.Records.Retired()
		s.read = err == nil // otherwise it is read again
	}
	errs := []error{err}
	surplus := len(s.retired) - maxRetired
	left := s.retired[:0]
	for i, r := range s.retired {
		v, err := q.Judge(&r.Record)
		switch {
		case err != nil:
		case v.Alive && r.Ready:
			var back bool
			if back, err = s.Records.Restore(r.Key); err == nil {
				if back {
					restored++
					s.Log.Warn("a container that was taken for gone is there: its rules are restored", "attachment", r.Identity())
				}
				continue
			}
		case i < surplus || r.IPAM == "" && now.Sub(r.Since) > retiredAge:
			if err = s.Records.Forget(r.Key); err == nil {
				continue
			}
		}
		errs = append(errs, err)
		left = append(left, r)
	}
	s.retired = left
	return restored, errors.Join(errs...)
}
