package portpool

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// Sample is the pressure on a node at one time.
type Sample struct {
	Time time.Time
	// Groups are the fullest, the fullest first.
	Groups []Pressure
	// Beyond is the share that no group has more of that is not among Groups.
	Beyond float64
	// Warnings is the number of Groups at each level of Levels.
	Warnings map[Level]int
	// Lost are the losses since the network namespace began. LostNow are the losses
	// since the last sample, and zero in the first sample. Both are of the whole node:
	// the kernel does not report whose packets were lost.
	Lost, LostNow Losses
	// ReusesClosed says that ports of closed flows count as free.
	ReusesClosed bool
	// Dumps is how often the table was read.
	Dumps int
}

// Worst is the highest level of the groups.
func (s *Sample) Worst() Level {
	worst := Calm
	for i := range s.Groups {
		worst = max(worst, s.Groups[i].Level)
	}
	return worst
}

// Keep leaves these groups, which are some of the sample's, in their order. Beyond and
// Warnings follow.
func (s *Sample) Keep(groups []Pressure) {
	kept := make(map[Group]bool, len(groups))
	warnings := map[Level]int{}
	for _, l := range Levels {
		warnings[l] = 0
	}
	for i := range groups {
		kept[groups[i].Group] = true
		if l := groups[i].Level; l != Calm {
			warnings[l]++
		}
	}
	for i := range s.Groups {
		if !kept[s.Groups[i].Group] {
			s.Beyond = max(s.Beyond, s.Groups[i].Share())
		}
	}
	s.Groups, s.Warnings = groups, warnings
}

// table is the kernel's, as conntrack.Conn reads it.
type table interface {
	Dump(context.Context, conntrack.Filter) iter.Seq2[*conntrack.Flow, error]
	Statistics(context.Context) ([]conntrack.Statistics, error)
}

// Monitor takes samples. It is for one goroutine at a time.
type Monitor struct {
	counter *Counter
	trend   trend
	most    int
	losses  LossMeter
}

// NewMonitor takes 2 MiB, and up to 45 KiB for each group.
func NewMonitor(o Options) *Monitor {
	most := max(o.Groups, 1)
	// A group that is just not shown keeps its rate.
	o.Groups = most + most/4
	return &Monitor{counter: NewCounter(o), most: most}
}

// retries is how often a dump that the kernel calls incomplete is made again.
const retries = 5

// Sample reads the table: once where that is enough to be exact, twice where there
// are more groups than are followed. Errors are those of the kernel.
func (m *Monitor) Sample(ctx context.Context, now time.Time, t table, p *Pools) (*Sample, error) {
	s := &Sample{Time: now, Warnings: map[Level]int{}, ReusesClosed: m.counter.ReusesClosed}
	for _, l := range Levels {
		s.Warnings[l] = 0
	}
	all, err := t.Statistics(ctx)
	if err != nil {
		return nil, err
	}
	s.Lost, s.LostNow = LossesOf(all), m.losses.Add(now, all)
	var uses []Use
	for exact := false; !exact && s.Dumps < 2; {
		for i := 0; ; i++ {
			if err = m.read(ctx, t, p); err == nil || !errors.Is(err, conntrack.ErrInterrupted) || i == retries {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		s.Dumps++
		uses, s.Beyond, exact = m.counter.End()
	}
	s.Groups = m.trend.add(now, uses)
	if len(s.Groups) > m.most {
		s.Beyond = max(s.Beyond, s.Groups[m.most].Share())
		s.Groups = s.Groups[:m.most]
	}
	for i := range s.Groups {
		if l := s.Groups[i].Level; l != Calm {
			s.Warnings[l]++
		}
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
