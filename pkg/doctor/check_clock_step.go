package doctor

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// minStep is the smallest clock step that is reported. Records of flows may be some
	// seconds out of order.
	minStep = time.Minute
	// recentStep is the age up to which a clock step is reported.
	recentStep = 24 * time.Hour
)

var clockStep = Check{
	ID:       "clock-step",
	Title:    "The clock was set back while the NAT log was kept",
	Severity: report.SeverityWarning,
	Reads:    "times of the NAT log",
	Applies:  "masqd keeps a NAT log on disk, and the clock was set back by a minute or more within 24 hours",
	Remedy:   "Compare all answers of masq-cni who --at for times that occurred twice.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		records, err := store.Open(n.StateDir)
		if err != nil {
			return nil, err
		}
		if kept, err := records.HasNATLog(); err != nil || !kept || n.NATLog == "" {
			return nil, err
		}
		step, err := natlog.LastClockStep(n.NATLog, minStep)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // only a collector has the log, or masqd writes it elsewhere
		}
		if step == nil || n.Now.Sub(step.To) > recentStep {
			return nil, err
		}
		at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
		return []Finding{{
			Severity: report.SeverityWarning,
			Object:   "the clock",
			Message:  "was set back by " + step.By().Round(time.Second).String() + ", to " + at(step.To),
			Evidence: []Evidence{
				{n.NATLog + ", a record before the step", at(step.From)},
				{n.NATLog + ", the record after it", at(step.To)},
			},
			Why: "The times from " + at(step.To) + " to " + at(step.From) + " occurred twice: masq-cni who --at finds the flows of both.",
			Remedy: Remedy{
				Text:     "check the time service of the node; for a time in that period, compare all answers",
				Commands: []string{"timedatectl timesync-status", "chronyc tracking"},
			},
		}}, err
	},
}
