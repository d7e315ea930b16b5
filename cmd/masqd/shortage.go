package main

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/pressure"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// shortage is where source ports run out.
type shortage struct {
	reasons []string
	// exhausted is a group that has no port left, empty where each has.
	exhausted string
}

// shortages returns where source ports run out, how full the conntrack table is if it is
// nearly full, and which packets were dropped recently. The next call knows more.
func (s *sampler) shortages(ctx context.Context) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew(ctx)
	reasons := append([]string(nil), s.short.reasons...)
	table, sum, err := s.ask(ctx)
	if err != nil {
		return append(reasons, fmt.Sprintf("conntrack: %v", err))
	}
	now := time.Now()
	losses := report.Losses{
		NoPort: s.losses.NoPort(), NoRoom: s.losses.NoRoom(), Evicted: s.losses.Evicted(),
		Exhausted: s.short.exhausted, Full: now.Sub(s.full) < pressure.LossMemory,
	}
	for _, p := range report.ConntrackUseOf(table, sum).Problems(losses, now) {
		if p.Kind != report.KindConntrackFull || p.Severity == report.SeverityError { // from 90 % on
			reasons = append(reasons, p.Advice())
		}
	}
	return reasons
}

// shortageOf returns where the ports of a sample run out.
func shortageOf(s *pressure.Sample) (x shortage) {
	for _, g := range report.PortsOf(s, true, report.OwnersOf(nil)).Groups {
		if g.Level < pressure.Warning {
			continue
		}
		if g.Used >= g.Usable && x.exhausted == "" {
			x.exhausted = g.String()
		}
		r := fmt.Sprintf("source ports: %.0f %% of those of %s are in use", 100*g.Share, g)
		if g.ExhaustedIn != nil && *g.ExhaustedIn > 0 {
			r += ", all of them in " + time.Duration(*g.ExhaustedIn).Round(time.Second).String()
		}
		x.reasons = append(x.reasons, r+"; masq-cni inspect ports shows which pods hold them")
	}
	return x
}
