package flowstats

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// MaxDestinations is the number of destinations in Sample.Ports.
	MaxDestinations = 10
	// candidates is how many of the fullest destinations are counted exactly. To hide the
	// destination of another container, a container would have to use more ports of 64
	// destinations. In a conntrack table of 262,144 entries that is possible only below 6 %
	// of the ports of each.
	candidates = 64
	// otherProtocols is the protocol of rows for the protocols that package report does not
	// name: a container can send packets of all 256.
	otherProtocols = "other"
)

// Sample summarizes a dump of all flows. It is zero before the first dump has ended.
type Sample struct {
	Time     time.Time // the end of the dump
	Duration time.Duration
	// States counts flows by protocol and state. Protocols that package report does not
	// name are counted together, as "other".
	States []report.StateCount
	// Translated is the number of flows with a translated source.
	Translated int
	// Helpers counts control connections by their conntrack helper.
	Helpers []report.HelperCount
	// Expectations is the number of connections that conntrack helpers expect.
	Expectations int
	// Attachments are the attachments with the most flows.
	Attachments []AttachmentFlows
	// Ports is the source ports in use for the fullest destinations, at most
	// MaxDestinations.
	Ports report.Ports
}

// AttachmentFlows counts the open flows that a container began in a network.
type AttachmentFlows struct {
	Network, Namespace, Pod, Container string
	Flows, Translated                  int
	// TranslatedBytes counts the bytes of translated flows in both directions.
	TranslatedBytes uint64
}

// takeSample dumps all flows.
func (s *Sampler) takeSample(ctx context.Context) (out Sample, err error) {
	start := time.Now()
	var records []store.Record
	if s.MaxAttachments > 0 {
		if records, err = s.Records(); err != nil && len(records) == 0 {
			return out, err
		}
	}
	tally := report.NewTally(report.OwnersOf(records))
	for f, err := range s.dumps.Dump(ctx, conntrack.Filter{}) {
		// An interrupted dump may lack a few flows, or have them twice.
		if err != nil && !errors.Is(err, conntrack.ErrInterrupted) {
			return out, err
		}
		if err == nil {
			tally.Add(f)
		}
	}
	out.Translated, out.States, out.Helpers = tally.Translated, statesOf(tally), tally.Helpers()
	for _, err := range s.dumps.Expectations(ctx) {
		if err != nil {
			return out, err
		}
		out.Expectations++
	}
	if s.ports == nil {
		s.ports = portpool.NewMonitor(portpool.Options{Groups: candidates, Holders: 1, ReusesClosed: portpool.ReusesClosed()})
	}
	ports, err := s.ports.Sample(ctx, start, s.dumps, s.Pools())
	if err != nil {
		return out, err
	}
	s.limitPorts(ports)
	out.Ports = report.PortsOf(ports, true, report.OwnersOf(nil))
	out.Attachments = busiest(records, tally, s.MaxAttachments)
	out.Time, out.Duration = time.Now(), time.Since(start)
	return out, nil
}

// limitPorts reduces a sample to MaxDestinations groups.
func (s *Sampler) limitPorts(p *portpool.Sample) {
	var holders []netip.Addr
	for i := range p.Groups {
		for _, h := range p.Groups[i].Holders {
			holders = append(holders, h.Source)
		}
	}
	origins := originsOf(holders, s.CachedRecords(), s.ReadRecord)
	p.Keep(fairShare(p.Groups, MaxDestinations, func(g *portpool.Forecast) origin {
		if len(g.Holders) == 0 {
			return origin{}
		}
		source := g.Holders[0].Source
		if o, ok := origins[source]; ok {
			return o
		}
		return origin{attachment: source.String(), tenant: source.String()} // another plugin attached the pod
	}))
}

// statesOf returns the flows by protocol and state, in a bounded number of rows.
func statesOf(tally *report.Tally) (out []report.StateCount) {
	named := report.Protocols()
	others := map[string]int{}
	for _, c := range tally.States() {
		if slices.Contains(named, c.Protocol) {
			out = append(out, c)
		} else {
			others[c.State] += c.Flows
		}
	}
	for _, state := range slices.Sorted(maps.Keys(others)) {
		out = append(out, report.StateCount{Protocol: otherProtocols, State: state, Flows: others[state]})
	}
	return out
}

// busiest returns the flows of at most n attachments, those with the most flows. The
// interfaces of a container in one network count together: labels do not distinguish them.
func busiest(records []store.Record, tally *report.Tally, n int) []AttachmentFlows {
	type container struct{ network, id string }
	sums := map[container]*AttachmentFlows{}
	for i, c := range tally.ByOwner {
		if c.Flows == 0 {
			continue
		}
		a := &records[i].Attachment
		key := container{a.Network, a.ContainerID}
		sum := sums[key]
		if sum == nil {
			sum = &AttachmentFlows{Network: a.Network, Namespace: a.Namespace, Pod: a.Name, Container: a.ContainerID}
			sums[key] = sum
		}
		sum.Flows += c.Flows
		sum.Translated += c.Translated
		sum.TranslatedBytes += c.TranslatedBytes
	}
	all := slices.SortedFunc(maps.Values(sums), func(a, b *AttachmentFlows) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Network, b.Network))
	})
	var out []AttachmentFlows
	for _, a := range fairShare(all, n, func(a **AttachmentFlows) origin {
		return originOf(masq.Attachment{Key: masq.Key{Network: (*a).Network, ContainerID: (*a).Container}, Pod: masq.Pod{Namespace: (*a).Namespace}})
	}) {
		out = append(out, *a)
	}
	return out
}
