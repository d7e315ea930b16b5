package main

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// shortages returns where source ports run out, how full the conntrack table is if it is
// nearly full, and which packets were dropped recently. The next call knows more.
func (s *sampler) shortages(ctx context.Context) (reasons []string, losses report.Losses) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew(ctx)
	problems := report.PortProblems(s.groups)
	table, sum, err := s.ask(ctx)
	now := time.Now()
	if err == nil {
		losses = report.Losses{
			NoPort: s.losses.NoPort(), NoRoom: s.losses.NoRoom(), Evicted: s.losses.Evicted(),
			Exhausted: report.Exhausted(s.groups), Full: now.Sub(s.full) < portpool.LossMemory,
		}
		problems = append(problems, report.ConntrackUseOf(table, sum).Problems(losses, now)...)
	}
	for _, p := range problems {
		if p.Kind != report.KindConntrackFull || p.Severity == report.SeverityError { // from 90 % on
			reasons = append(reasons, p.Advice())
		}
	}
	if err != nil {
		reasons = append(reasons, fmt.Sprintf("conntrack: %v", err))
	}
	return reasons, losses
}
