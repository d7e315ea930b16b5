package flowstats

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Shortages returns a sentence for each group whose source ports run out, for a conntrack
// table that is nearly full, and for packets that were recently dropped for these reasons.
// It uses the last sample, and starts the next one if the pause after it is over.
func (s *Sampler) Shortages(ctx context.Context) (reasons []string, losses report.Losses) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startSample(ctx)
	groups := s.last.Ports.Groups
	problems := report.PortProblems(groups)
	table, sum, err := s.query(ctx)
	now := time.Now()
	if err == nil {
		losses = report.Losses{
			NoPort: s.losses.NoPort(), NoRoom: s.losses.NoRoom(), Evicted: s.losses.Evicted(),
			Exhausted: report.Exhausted(groups), Full: now.Sub(s.nearlyFull) < portpool.RecentLossPeriod,
		}
		problems = append(problems, report.ConntrackUseOf(table, sum).Problems(losses, now)...)
	}
	for _, p := range problems {
		// A table that is 80 % full is a warning and not yet a shortage; at 90 % it is an error.
		if p.Kind != report.KindConntrackFull || p.Severity == report.SeverityError {
			reasons = append(reasons, p.Advice())
		}
	}
	if err != nil {
		reasons = append(reasons, fmt.Sprintf("conntrack: %v", err))
	}
	return reasons, losses
}
