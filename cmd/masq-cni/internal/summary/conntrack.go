package summary

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// maxPortGroups is the number of groups of source ports that the summary checks, those with
// the most ports in use first.
const maxPortGroups = 10

// readConntrack reads the conntrack table and its statistics into x. A loss is recent if
// its counter grows while the table is read, or since an earlier reading of losses.
// countFlows returns two functions: one to call with each flow, and one to call at the end.
func readConntrack(ctx context.Context, s node.Snapshot, x *report.Node, losses *portpool.LossTracker, countFlows func() (add func(*conntrack.Flow), done func())) error {
	c, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	table, err := c.Table()
	if err != nil {
		return err
	}
	all, err := c.Statistics(ctx)
	if err != nil {
		return err
	}
	losses.Add(time.Now(), all)
	ports := portpool.NewCounter(portpool.Options{Groups: maxPortGroups, Holders: report.MaxHolders, ReusesClosed: portpool.ReusesClosed()})
	var done func()
	t, err := node.Tally(ctx, s.Owners, c, []node.Query{{}}, func() func(*conntrack.Flow) {
		ports.Begin(s.PortPools())
		var count func(*conntrack.Flow)
		count, done = countFlows()
		return func(f *conntrack.Flow) {
			ports.Add(f)
			count(f)
		}
	})
	if err != nil {
		return err
	}
	done()
	uses, _, _ := ports.End() // may miss groups if there are many; the command ports reads twice
	x.Ports = report.PortsOf(&portpool.Sample{Groups: portpool.ForecastsOf(uses)}, false, s.Owners).Groups
	if all, err = c.Statistics(ctx); err != nil {
		return err
	}
	losses.Add(time.Now(), all)
	x.Losses = report.Losses{NoPort: losses.NoPort(), NoRoom: losses.NoRoom(), Evicted: losses.Evicted(), Exhausted: report.Exhausted(x.Ports)}
	if l := x.Daemon.Losses; l != nil { // masqd has observed the counters for longer
		x.Losses = *l
	}
	x.Conntrack = report.ConntrackUseOf(table, conntrack.Sum(all))
	x.Conntrack.Accounting, x.Conntrack.Timestamps = isEnabled("acct"), isEnabled("timestamp")
	expected := 0
	for _, err := range c.Expectations(ctx) {
		if err != nil {
			return err
		}
		expected++
	}
	x.Flows, x.FlowHolders = report.FlowsOf(t, expected), t.FlowHolders(report.MaxFlowHolders)
	return nil
}

// isEnabled reports whether a sysctl of conntrack is 1. A kernel without the sysctl has the
// feature disabled.
func isEnabled(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
