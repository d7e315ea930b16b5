package daemon

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// firstDoctorDelay is the time from the start until the first checks: a node that boots
	// configures its interfaces and starts its services meanwhile.
	firstDoctorDelay = time.Minute
	// maxLoggedFindings is the greatest number of findings that one pass logs as new.
	maxLoggedFindings = 20
)

// findings runs the cheap checks of doctor at an interval, and logs what changes.
type findings struct {
	interval time.Duration // 0: never
	// cached returns all records without pods and links, and read a whole record.
	cached func() []*store.Record
	read   func(masq.Key) (store.Record, bool, error)
	// check runs the checks.
	check func(context.Context, []store.Record) (doctor.Report, error)
	log   *slog.Logger

	mu     sync.Mutex
	last   doctor.Report
	failed string // the last error of check that was logged
}

// checkNode runs doctor's cheap checks in the network namespace of this process.
func checkNode(stateDir string) func(context.Context, []store.Record) (doctor.Report, error) {
	return func(ctx context.Context, records []store.Record) (doctor.Report, error) {
		n, err := doctor.Open(doctor.Options{StateDir: stateDir, Records: records})
		if err != nil {
			return doctor.Report{}, err
		}
		return doctor.Run(ctx, n, doctor.CheapChecks()), nil
	}
}

// run checks at the interval until the context ends.
func (f *findings) run(ctx context.Context) error {
	if f.interval == 0 {
		return nil
	}
	next := time.NewTimer(min(firstDoctorDelay, f.interval))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		f.pass(ctx)
		next.Reset(f.interval)
	}
}

// pass checks once, and logs what has changed since the last pass.
func (f *findings) pass(ctx context.Context) {
	r, err := f.check(ctx, f.records())
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if text := err.Error(); text != f.failed {
			f.failed = text
			f.log.Warn("doctor could not check the node", "err", err)
		}
		return
	}
	f.failed = ""
	// A check that cannot be made now proves nothing: its earlier findings stay.
	for _, x := range f.last.Findings {
		if slices.ContainsFunc(r.NotChecked, func(n doctor.NotChecked) bool { return n.Check == x.Check }) {
			r.Findings = append(r.Findings, x)
		}
	}
	f.logChanges(ctx, r.Findings)
	f.last = r
}

// logChanges logs new findings, and findings that are gone.
func (f *findings) logChanges(ctx context.Context, now []doctor.Finding) {
	appeared := 0
	for _, x := range now {
		if slices.ContainsFunc(f.last.Findings, func(was doctor.Finding) bool { return isSame(was, x) && was.Severity == x.Severity }) {
			continue
		}
		if appeared++; appeared > maxLoggedFindings {
			continue
		}
		level := slog.LevelWarn
		if x.Severity == report.SeverityError {
			level = slog.LevelError
		}
		f.log.Log(ctx, level, "doctor found a fault", "check", x.Check, "finding", x.String(), "why", x.Why, "remedy", x.Problem().Remedy)
	}
	if more := appeared - maxLoggedFindings; more > 0 {
		f.log.Warn("doctor found more faults", "count", more, "remedy", "masq-cni doctor")
	}
	for _, was := range f.last.Findings {
		if !slices.ContainsFunc(now, func(x doctor.Finding) bool { return isSame(was, x) }) {
			f.log.Info("a fault that doctor found is gone", "check", was.Check, "finding", was.String())
		}
	}
}

// isSame reports whether two findings are about the same fault. Their messages may have
// different numbers.
func isSame(a, b doctor.Finding) bool { return a.Check == b.Check && a.Object == b.Object }

// records returns the records with what checks need: pods and links, which the cache omits.
// An unreadable record has what the cache has.
func (f *findings) records() []store.Record {
	cached := f.cached()
	out := make([]store.Record, 0, len(cached))
	for _, r := range cached {
		x := *r
		if whole, found, err := f.read(r.Key); err == nil && found {
			x.Pod, x.Links = whole.Pod, whole.Links
		}
		out = append(out, x)
	}
	return out
}

// counts returns the number of findings by check and severity. A check that was made and
// found nothing has 0. at is the time of the last checks, zero before the first.
func (f *findings) counts() (at time.Time, out []metrics.Findings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add := func(check string, s report.Severity, n int) {
		for i := range out {
			if out[i].Check == check && out[i].Severity == string(s) {
				out[i].Count += n
				return
			}
		}
		out = append(out, metrics.Findings{Check: check, Severity: string(s), Count: n})
	}
	for _, c := range doctor.CheapChecks() {
		if slices.Contains(f.last.Checks, c.ID) {
			add(c.ID, c.Severity, 0)
		}
	}
	for _, x := range f.last.Findings {
		add(x.Check, x.Severity, 1)
	}
	return f.last.Time.Time, out
}
