package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// pace is how many times as long as a dump of all flows the time until the next
	// is: dumps take one hundredth of a core at most.
	pace = 100
	// freshness is that time at least.
	freshness = 15 * time.Second
)

// sampler tells of flows when it is asked, and dumps them no more often than that,
// and than its pace allows: where nobody asks, nothing is dumped.
type sampler struct {
	conn        *conntrack.Conn // of the samples
	asks        *conntrack.Conn // of what is cheap
	records     func() ([]store.Record, error)
	pools       func() *portpool.Pools
	owners      func([]netip.Addr) map[netip.Addr]owner // by the addresses of attachments
	ports       *portpool.Monitor                       // made with the first sample
	attachments int                                     // that are told apart
	log         *slog.Logger

	dumps sync.WaitGroup

	mu     sync.Mutex // of asks and what follows
	busy   bool
	last   metrics.Flows
	groups []report.PortGroup // as of the last sample
	losses portpool.LossMeter
	full   time.Time // when the table was last seen nearly full
	errors int
}

func newSampler(ctx context.Context, records *store.Records, pools func() *portpool.Pools, owners func([]netip.Addr) map[netip.Addr]owner, attachments int, log *slog.Logger) (*sampler, error) {
	conn, err := conntrack.Open()
	if err != nil {
		return nil, err
	}
	asks, err := conntrack.Open()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &sampler{conn: conn, asks: asks, records: records.All, pools: pools, owners: owners, attachments: attachments, log: log}
	// What was lost before this is not a recent loss. An error is reported when it is
	// asked again.
	_, _, _ = s.ask(ctx)
	return s, nil
}

// Flows returns what is known, and sees to it that more is known the next time.
func (s *sampler) Flows(ctx context.Context) (metrics.Flows, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table, sum, err := s.ask(ctx)
	if err != nil {
		return metrics.Flows{}, err
	}
	s.renew(ctx)
	f := s.last
	f.Entries, f.Limit = table.Entries, table.Limit
	f.Invalid, f.InsertFailed, f.Drop, f.EarlyDrop = sum.Invalid, sum.InsertFailed, sum.Drop, sum.EarlyDrop
	f.Clashes, f.Restarts = sum.ClashResolve, sum.SearchRestart
	return f, nil
}

// ask reads what is cheap to read: how full the table is, and the statistics.
func (s *sampler) ask(ctx context.Context) (t conntrack.Table, sum conntrack.Statistics, err error) {
	if t, err = s.asks.Table(); err != nil {
		s.errors++
		return t, sum, err
	}
	all, err := s.asks.Statistics(ctx)
	if err != nil {
		s.errors++
		return t, sum, err
	}
	now := time.Now()
	s.losses.Add(now, all)
	if float64(t.Entries) >= report.NearlyFull*float64(t.Limit) {
		s.full = now
	}
	return t, conntrack.Sum(all), nil
}

// renew begins another sample, unless it is too soon for that.
func (s *sampler) renew(ctx context.Context) {
	if s.due(time.Now()) {
		s.busy = true
		s.dumps.Go(func() { s.sample(ctx) })
	}
}

func (s *sampler) due(now time.Time) bool {
	return !s.busy && now.Sub(s.last.Sampled) > max(freshness, pace*s.last.Took)
}

// failures is how often the kernel refused to tell.
func (s *sampler) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors
}

// sample dumps all flows.
func (s *sampler) sample(ctx context.Context) {
	f, groups, err := s.dump(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.errors++
		s.last.Sampled = time.Now() // not at once again
		s.log.Warn("cannot sample the flows", "err", err)
		return
	}
	s.last, s.groups = f, groups
}

func (s *sampler) dump(ctx context.Context) (out metrics.Flows, groups []report.PortGroup, err error) {
	begun := time.Now()
	var records []store.Record
	if s.attachments > 0 {
		if records, err = s.records(); err != nil && len(records) == 0 {
			return out, nil, err
		}
	}
	tally := report.NewTally(report.OwnersOf(records))
	for f, err := range s.conn.Dump(ctx, conntrack.Filter{}) {
		if err != nil && !errors.Is(err, conntrack.ErrInterrupted) { // a few may be missing, or twice
			return out, nil, err
		}
		if err == nil {
			tally.Add(f)
		}
	}
	out = metrics.Flows{Translated: tally.Translated, Helpers: map[string]int{}}
	out.States = statesOf(tally)
	for _, h := range tally.Helpers() {
		out.Helpers[report.Clean(h.Helper)] = h.Flows
	}
	for _, err := range s.conn.Expectations(ctx) {
		if err != nil {
			return out, nil, err
		}
		out.Expectations++
	}
	if s.ports == nil {
		s.ports = portpool.NewMonitor(portpool.Options{Groups: candidates, Holders: 1, ReusesClosed: portpool.ReusesClosed()})
	}
	sample, err := s.ports.Sample(ctx, begun, s.conn, s.pools())
	if err != nil {
		return out, nil, err
	}
	s.limit(sample)
	out.Ports = portsOf(sample)
	out.Attachments = busiest(records, tally, s.attachments)
	out.Sampled, out.Took = time.Now(), time.Since(begun)
	return out, report.PortsOf(sample, true, report.OwnersOf(nil)).Groups, nil
}

const (
	// candidates is how many of the fullest destinations are counted exactly. To hide the
	// destination of another container, a container must use more ports of 64 destinations:
	// a conntrack table of 262,144 entries has room for 6 % of the ports of each.
	candidates = 64
	// otherProtocol stands for the protocols that conntrack knows nothing of: a container
	// can send all 256.
	otherProtocol = "other"
)

// limit reduces a sample to the groups that metrics and readiness report.
func (s *sampler) limit(p *portpool.Sample) {
	var holders []netip.Addr
	for i := range p.Groups {
		for _, h := range p.Groups[i].Holders {
			holders = append(holders, h.Source)
		}
	}
	owners := s.owners(holders)
	kept := spread(p.Groups, metrics.MaxDestinations, func(g *portpool.Pressure) owner {
		if len(g.Holders) == 0 {
			return owner{}
		}
		from := g.Holders[0].Source
		if o, ok := owners[from]; ok {
			return o
		}
		return owner{attachment: from.String(), tenant: from.String()} // another plugin's pod
	})
	p.Keep(kept)
}

// statesOf are the flows by protocol and state, in a bounded number of rows.
func statesOf(tally *report.Tally) (out []metrics.FlowState) {
	known := report.Protocols()
	others := map[string]int{}
	for _, c := range tally.States() {
		if slices.Contains(known, c.Protocol) {
			out = append(out, metrics.FlowState{Protocol: c.Protocol, State: c.State, Flows: c.Flows})
		} else {
			others[c.State] += c.Flows
		}
	}
	for _, state := range slices.Sorted(maps.Keys(others)) {
		out = append(out, metrics.FlowState{Protocol: otherProtocol, State: state, Flows: others[state]})
	}
	return out
}

func portsOf(s *portpool.Sample) metrics.Ports {
	out := metrics.Ports{Unlisted: s.Beyond, Warnings: map[string]int{}, Failed: s.Lost.NoPort}
	for level, n := range s.Warnings {
		out.Warnings[level.String()] = n
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		out.Fullest = append(out.Fullest, metrics.PortUse{
			Protocol: report.Protocol(g.Protocol), Egress: g.Egress.String(), Destination: g.Destination.String(),
			Port: strconv.Itoa(int(g.Port)), Zone: strconv.Itoa(int(g.Zone)), Share: g.Share(), ExhaustedIn: g.ExhaustedIn,
		})
	}
	return out
}

// busiest returns what the attachments with the most flows have. The interfaces of a
// container in one network count together: the labels do not tell them apart.
func busiest(records []store.Record, tally *report.Tally, most int) []metrics.AttachmentFlows {
	type container struct{ network, id string }
	sums := map[container]*metrics.AttachmentFlows{}
	for i, c := range tally.ByOwner {
		if c.Flows == 0 {
			continue
		}
		a := &records[i].Attachment
		key := container{a.Network, a.ContainerID}
		sum := sums[key]
		if sum == nil {
			sum = &metrics.AttachmentFlows{Network: a.Network, Namespace: a.Namespace, Pod: a.Name, Container: a.ContainerID}
			sums[key] = sum
		}
		sum.Flows += c.Flows
		sum.Translated += c.Translated
		sum.TranslatedBytes += c.TranslatedBytes
	}
	out := slices.SortedFunc(maps.Values(sums), func(a, b *metrics.AttachmentFlows) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Network, b.Network))
	})
	var kept []metrics.AttachmentFlows
	for _, a := range spread(out, most, func(a **metrics.AttachmentFlows) owner {
		return ownerOf(masq.Attachment{Key: masq.Key{Network: (*a).Network, ContainerID: (*a).Container}, Pod: masq.Pod{Namespace: (*a).Namespace}})
	}) {
		kept = append(kept, *a)
	}
	return kept
}

// close waits for a dump that is under way: its context is to have ended.
func (s *sampler) close() error {
	s.dumps.Wait()
	return errors.Join(s.conn.Close(), s.asks.Close())
}
