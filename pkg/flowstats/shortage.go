package flowstats

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// Shortages returns, as sentences, which source ports run out, whether the conntrack table
// is nearly full, and the packets that were recently dropped for these reasons. It uses the
// last sample. It starts the next one if the pause after the last one is over.
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
		// The warning at 80 % of the table is for people, and not a reason of readiness.
		if p.Kind != report.KindConntrackFull || p.Severity == report.SeverityError {
			reasons = append(reasons, p.Advice())
		}
	}
	if err != nil {
		reasons = append(reasons, fmt.Sprintf("conntrack: %v", err))
	}
	return reasons, losses
}
