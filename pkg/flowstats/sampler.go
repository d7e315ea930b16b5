package flowstats

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// pauseFactor is the pause after a sample, in multiples of its duration: samples take
	// at most a hundredth of a core.
	pauseFactor = 100
	// minPause is the shortest pause after a sample.
	minPause = 15 * time.Second
)

// Options configure a Sampler, and give it the records of attachments.
type Options struct {
	// Records reads all records from disk. It is called only if MaxAttachments is not 0.
	Records func() ([]store.Record, error)
	// CachedRecords returns all records from memory. They may lack the pods.
	CachedRecords func() []*store.Record
	// ReadRecord reads the whole record of one attachment from disk.
	ReadRecord func(masq.Key) (store.Record, bool, error)
	// Pools returns the source ports that the policies allow.
	Pools func() *portpool.Pools
	// MaxAttachments is the maximum number of rows in Sample.Attachments.
	MaxAttachments int
	Log            *slog.Logger
}

// Sampler reads the conntrack table. Its methods may be called concurrently.
type Sampler struct {
	Options
	dumps   *conntrack.Conn   // for samples
	queries *conntrack.Conn   // for the table's size and the statistics
	ports   *portpool.Monitor // nil before the first sample
	running sync.WaitGroup

	mu         sync.Mutex // guards queries and the following fields
	sampling   bool
	last       Sample
	losses     portpool.LossTracker
	nearlyFull time.Time // when the table was last seen nearly full
	errors     int
}

// Flows is the state of the conntrack table.
type Flows struct {
	Table conntrack.Table
	// Statistics is the sum of all CPUs.
	Statistics conntrack.Statistics
	Sample     Sample
}

// Open opens the connections to the kernel.
func Open(ctx context.Context, o Options) (*Sampler, error) {
	dumps, err := conntrack.Open()
	if err != nil {
		return nil, err
	}
	queries, err := conntrack.Open()
	if err != nil {
		return nil, errors.Join(err, dumps.Close())
	}
	s := &Sampler{Options: o, dumps: dumps, queries: queries}
	// Losses before this first query do not count as recent. Its error is ignored: the next
	// query reports it.
	_, _, _ = s.query(ctx)
	return s, nil
}

// Close waits for the running sample, and closes the connections. The context of the last
// request must have ended.
func (s *Sampler) Close() error {
	s.running.Wait()
	return errors.Join(s.dumps.Close(), s.queries.Close())
}

// Flows returns the state of the table with the last sample. It starts the next sample if
// the pause after the last one is over.
func (s *Sampler) Flows(ctx context.Context) (Flows, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table, sum, err := s.query(ctx)
	if err != nil {
		return Flows{}, err
	}
	s.startSample(ctx)
	return Flows{Table: table, Statistics: sum, Sample: s.last}, nil
}

// Errors returns the number of requests to the kernel that failed.
func (s *Sampler) Errors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors
}

// query reads the size of the table, and the statistics.
func (s *Sampler) query(ctx context.Context) (t conntrack.Table, sum conntrack.Statistics, err error) {
	if t, err = s.queries.Table(); err != nil {
		s.errors++
		return t, sum, err
	}
	all, err := s.queries.Statistics(ctx)
	if err != nil {
		s.errors++
		return t, sum, err
	}
	now := time.Now()
	s.losses.Add(now, all)
	if float64(t.Entries) >= report.ConntrackCritical*float64(t.Limit) {
		s.nearlyFull = now
	}
	return t, conntrack.Sum(all), nil
}

// startSample starts a sample in the background if the pause after the last one is over.
func (s *Sampler) startSample(ctx context.Context) {
	if s.isDue(time.Now()) {
		s.sampling = true
		s.running.Go(func() { s.sample(ctx) })
	}
}

// isDue reports whether the next sample may start.
func (s *Sampler) isDue(now time.Time) bool {
	return !s.sampling && now.Sub(s.last.Time) > max(minPause, pauseFactor*s.last.Duration)
}

func (s *Sampler) sample(ctx context.Context) {
	sample, err := s.takeSample(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sampling = false
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.errors++
		s.last.Time = time.Now() // the next attempt is after a pause too
		s.Log.Warn("cannot sample the flows; metrics and readiness use the previous sample", "err", err)
	default:
		s.last = sample
	}
}
