package reconcile

import (
	"errors"
	"log/slog"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Sweep forgets attachments whose container is gone and whose runtime never called
// DEL; containerd does not call GC either.
type Sweep struct {
	// Exists reports whether the node has an interface of this name.
	Exists func(name string) (bool, error)
	// Delete removes a record. The look that follows removes the rules.
	Delete func(masq.Key) error
	// Grace is how long a link has to be gone: a runtime may be about to call DEL.
	Grace time.Duration
	Log   *slog.Logger

	gone map[masq.Key]time.Time // since when
}

// Waiting reports whether there are links that were gone at the last run, and whose
// grace has not ended.
func (s *Sweep) Waiting() bool { return len(s.gone) > 0 }

// Run looks at the links of all records, and returns how many attachments it has
// forgotten. What is not ours to release is said.
func (s *Sweep) Run(now time.Time, records []*store.Record) (int, error) {
	still := map[masq.Key]time.Time{}
	swept := 0
	var errs []error
	for _, r := range records {
		missing, err := s.missing(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if missing == "" {
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
		if err := s.Delete(r.Key); err != nil {
			errs = append(errs, err)
			continue
		}
		swept++
		attrs := []any{"attachment", r.Identity(), "link", missing, "gone", now.Sub(since)}
		if r.IPAM != "" {
			attrs = append(attrs, "leased", r.Addresses, "by", r.IPAM)
		}
		s.Log.Warn("an attachment's link is gone and DEL never came: its rules are removed; its lease is the IPAM plugin's to release", attrs...)
	}
	s.gone = still
	return swept, errors.Join(errs...)
}

// missing returns the first of a record's links that is not there. A record that is
// not ready is that of a plugin at work, or of one that died: which, the grace tells.
func (s *Sweep) missing(r *store.Record) (string, error) {
	links := r.Links
	if !r.Ready && !r.Chained {
		links = []string{r.HostName()}
	}
	for _, name := range links {
		there, err := s.Exists(name)
		if err != nil {
			return "", err
		}
		if !there {
			return name, nil
		}
	}
	return "", nil
}
