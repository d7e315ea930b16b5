package portpool

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Sample describes the source ports in use on a node at one time.
type Sample struct {
	Time time.Time
	// Groups are the fullest groups, in descending order of their share.
	Groups []Forecast
	// UnlistedShare is an upper bound of the share of every group that is not in Groups.
	UnlistedShare float64
	// Lost counts losses since the network namespace was created. NewlyLost counts losses since
	// the previous sample, and is zero in the first one. Both are of the whole node: the
	// kernel does not report the containers that lost packets.
	Lost, NewlyLost Losses
	// ReusesClosed reports whether ports of closed flows count as free.
	ReusesClosed bool
}

// Keep removes all other groups from the sample: UnlistedShare includes them afterwards.
// groups must be groups of the sample.
func (s *Sample) Keep(groups []Forecast) {
	kept := make(map[Group]bool, len(groups))
	for i := range groups {
		kept[groups[i].Group] = true
	}
	for i := range s.Groups {
		if !kept[s.Groups[i].Group] {
			s.UnlistedShare = max(s.UnlistedShare, s.Groups[i].Share())
		}
	}
	s.Groups = groups
}

// table reads the conntrack table, as conntrack.Conn does.
type table interface {
	Dump(context.Context, conntrack.Filter) iter.Seq2[*conntrack.Flow, error]
	Statistics(context.Context) ([]conntrack.Statistics, error)
}

// Monitor takes samples, and forecasts from a sample and the previous ones when ports will
// be exhausted. It is used by one goroutine at a time.
type Monitor struct {
	counter *Counter
	history history
	groups  int
	losses  LossTracker
}

// NewMonitor returns a Monitor. It needs 2 MiB, and up to 45 KiB for each group.
func NewMonitor(o Options) *Monitor {
	groups := max(o.Groups, 1)
	// More groups are counted than a sample returns, so that a group keeps its rate while it
	// is temporarily not among the fullest.
	o.Groups = groups + groups/4
	return &Monitor{counter: NewCounter(o), groups: groups}
}

const (
	// maxDumps is the maximum number of dumps for one sample: the second one tracks the groups
	// that the first one could not track.
	maxDumps = 2
	// maxDumpRetries is how often a dump is repeated if the kernel reports an interruption.
	maxDumpRetries = 5
)

// Sample reads the table: once if that gives exact figures, else twice. Its errors are
// those of the kernel.
func (m *Monitor) Sample(ctx context.Context, now time.Time, t table, p *Pools) (*Sample, error) {
	s := &Sample{Time: now, ReusesClosed: m.counter.ReusesClosed}
	all, err := t.Statistics(ctx)
	if err != nil {
		return nil, err
	}
	s.Lost, s.NewlyLost = LossesOf(all), m.losses.Add(now, all)
	var usages []Usage
	exact := false
	for dump := 0; dump < maxDumps && !exact; dump++ {
		err := m.read(ctx, t, p)
		for retry := 0; errors.Is(err, conntrack.ErrInterrupted) && retry < maxDumpRetries; retry++ {
			err = m.read(ctx, t, p)
		}
		if err != nil {
			return nil, err
		}
		usages, s.UnlistedShare, exact = m.counter.End()
	}
	s.Groups = m.history.add(now, usages)
	if len(s.Groups) > m.groups {
		s.UnlistedShare = max(s.UnlistedShare, s.Groups[m.groups].Share())
		s.Groups = s.Groups[:m.groups]
	}
	return s, nil
}

func (m *Monitor) read(ctx context.Context, t table, p *Pools) error {
	m.counter.Begin(p)
	for f, err := range t.Dump(ctx, conntrack.Filter{}) {
		if err != nil {
			return err
		}
		m.counter.Add(f)
	}
	return nil
}
