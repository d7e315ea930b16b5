package summary

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxPortGroups is the number of groups of source ports that the summary checks, those with
// the most ports in use first.
const maxPortGroups = 10

// conntrackReader reads the conntrack table and its statistics. A loss is recent if its
// counter grows while the table is read, or since an earlier reading of losses.
type conntrackReader struct {
	conn       *conntrack.Conn
	owners     *report.Owners
	pools      *portpool.Pools
	losses     *portpool.LossTracker
	countFlows func() (add func(*conntrack.Flow), done func()) // that of doctor.Node
}

// startConntrack begins to read conntrack on another thread: the dump of a large table takes
// longer than all else that the summary reads. finish waits for the end, and stores in x what was
// read.
func startConntrack(ctx context.Context, s node.Snapshot, losses *portpool.LossTracker, countFlows func() (add func(*conntrack.Flow), done func())) (finish func(x *report.Node) error) {
	c, err := conntrack.Open() // in the network namespace of the calling thread
	if err != nil {
		return func(*report.Node) error { return err }
	}
	r := conntrackReader{c, s.Owners, s.PortPools(), losses, countFlows}
	accounting, timestamps := isEnabled("acct"), isEnabled("timestamp")
	var facts conntrackFacts
	var reading sync.WaitGroup
	reading.Go(func() {
		defer func() { _ = c.Close() }()
		facts, err = r.read(ctx)
	})
	return func(x *report.Node) error {
		reading.Wait()
		x.Ports, x.Losses, x.Flows, x.FlowHolders = facts.ports, facts.losses, facts.flows, facts.holders
		if x.Conntrack = facts.use; x.Conntrack == nil {
			return err
		}
		x.Conntrack.Accounting, x.Conntrack.Timestamps = accounting, timestamps
		if l := x.Daemon.Losses; l != nil { // masqd has observed the counters for longer
			x.Losses = *l
		}
		return err
	}
}

// conntrackFacts are the parts of the summary that follow from conntrack.
type conntrackFacts struct {
	ports   []report.PortGroup
	losses  report.Losses
	use     *report.ConntrackUse
	flows   *report.Flows
	holders []report.FlowHolder
}

func (r *conntrackReader) read(ctx context.Context) (x conntrackFacts, err error) {
	table, err := r.conn.Table()
	if err != nil {
		return x, err
	}
	all, err := r.conn.Statistics(ctx)
	if err != nil {
		return x, err
	}
	r.losses.Add(time.Now(), all)
	ports := portpool.NewCounter(portpool.Options{Groups: maxPortGroups, Holders: report.MaxHolders, ReusesClosed: portpool.ReusesClosed()})
	var done func()
	t, err := node.Tally(ctx, r.owners, r.conn, []node.Query{{}}, func() func(*conntrack.Flow) {
		ports.Begin(r.pools)
		var count func(*conntrack.Flow)
		count, done = r.countFlows()
		return func(f *conntrack.Flow) {
			ports.Add(f)
			count(f)
		}
	})
	if err != nil {
		return x, err
	}
	done()
	uses, _, _ := ports.End() // may miss groups if there are many; the command ports reads twice
	x.ports = report.PortsOf(&portpool.Sample{Groups: portpool.ForecastsOf(uses)}, false, r.owners).Groups
	if all, err = r.conn.Statistics(ctx); err != nil {
		return x, err
	}
	r.losses.Add(time.Now(), all)
	x.losses = report.Losses{NoPort: r.losses.NoPort(), NoRoom: r.losses.NoRoom(), Evicted: r.losses.Evicted(), Exhausted: report.Exhausted(x.ports)}
	x.use = report.ConntrackUseOf(table, conntrack.Sum(all))
	expected := 0
	for _, err := range r.conn.Expectations(ctx) {
		if err != nil {
			return x, err
		}
		expected++
	}
	x.flows, x.holders = report.FlowsOf(t, expected), t.FlowHolders(report.MaxFlowHolders)
	return x, nil
}

// isEnabled reports whether a sysctl of conntrack is 1. A kernel without the sysctl has the
// feature disabled.
func isEnabled(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
