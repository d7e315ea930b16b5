package inspect

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/screen"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// showNode shows a summary of the node.
func showNode(c *cobra.Command, n *node.Node, x screen.Flags, w output.Writer) error {
	var losses portpool.LossTracker // with --watch it covers all readings
	return screen.ShowText(c, x, w, "NODE", func(ctx context.Context) (screen.Result[string], error) {
		x, fault, err := summary(ctx, n, &losses)
		return screen.Result[string]{Value: x, Text: x.WriteText, Remarks: screen.Remarks{Fault: fault}}, err
	})
}

// summary returns a summary of the node. A part that cannot be read is reported as a
// problem, and the other parts are still shown.
func summary(ctx context.Context, n *node.Node, losses *portpool.LossTracker) (x *report.Node, fault, err error) {
	v, err := n.SnapshotWithoutNote()
	if err != nil {
		return nil, nil, err
	}
	x = &report.Node{
		Problems: report.Problems{}, Time: report.Time{Time: time.Now().UTC()}, StateDir: n.StateDir, StateDirMissing: n.StateDirMissing(), Policies: v.Desired().Policies(),
		Uplinks: []report.Uplink{}, Firewalls: []report.Firewall{}, Warnings: []string{}, Notes: []string{},
	}
	lacks := func(part string, err error) {
		if err != nil {
			x.Report(report.Problem{Severity: report.SeverityUnknown, Kind: report.KindQueryFailed, Object: part, Message: err.Error(), Remedy: "run masq-cni as root on the node"})
		}
	}
	for _, e := range store.ReadErrors(v.Unread) {
		x.Report(report.Problem{
			Severity: report.SeverityError, Kind: report.KindRecordUnread, Object: "record " + e.Path,
			Message: "cannot be read: " + e.Err.Error() + "; the rules of its attachment are left as they are",
			Remedy:  "restore the file, or recreate the pod that it belongs to",
		})
	}
	for _, path := range v.Damaged {
		x.Report(report.Problem{
			Severity: report.SeverityWarning, Kind: report.KindRecordUnread, Object: "record " + strings.TrimSuffix(path, ".bad") + ".json",
			Message: "was damaged, and was rebuilt from what the kernel has", Remedy: "look at " + path + ", then delete it",
		})
	}
	lacks("egress addresses", v.Desired().Err)
	x.Attachments.Total = len(v.Records)
	for _, r := range v.Records {
		if r.Chained {
			x.Attachments.Chained++
		}
		if !r.Ready {
			x.Attachments.NotReady++
		}
	}
	x.Table, x.Dropped, err = tableOf(v)
	lacks("nftables", err)
	x.Links, err = linksState(v)
	lacks("links", err)
	foreign, err := node.QueryRules((*nft.Conn).Foreign)
	lacks("chains of other tables", err)
	x.Firewalls = report.FirewallsOf(foreign)
	for _, name := range legacyTables() {
		x.Note("not checked: table filter of legacy iptables, which can drop traffic too: %s -S FORWARD", name)
	}
	x.Uplinks, err = node.Uplinks()
	lacks("uplinks", err)
	x.Daemon, err = masqd.StateOf(ctx, v.LockPath)
	lacks("masqd", err)
	lacks("conntrack", readFlows(ctx, v, x, losses))
	x.ReportRefusals(v.Refusals, v.Records, v.Desired().Attachments)
	x.Evaluate(v.Records)
	switch x.Problems.Worst() {
	case report.SeverityError:
		fault = exitcode.ErrFailed
	case report.SeverityUnknown:
		fault = exitcode.QueryError{Err: errors.New("not all of the node could be queried: " + x.Problems[0].String())}
	}
	return x, fault, nil
}

// tableOf also returns what the table's rules have dropped.
func tableOf(v node.Snapshot) (t *report.Table, dropped *report.Dropped, err error) {
	t, err = node.QueryRules(func(c *nft.Conn) (*report.Table, error) {
		t := &report.Table{Desired: wanted(v)}
		var err error
		if t.Exists, err = c.Exists(); err != nil {
			return nil, err
		}
		owner, err := c.Owner()
		if err != nil {
			return nil, err
		}
		if owner != nil {
			t.Owner, t.OwnerRemedy = owner.Owner(), owner.Remedy()
		}
		if t.Generation, err = c.Generation(); err != nil {
			return nil, err
		}
		rules, err := c.CountedRules()
		if err != nil {
			return nil, err
		}
		t.Rules = len(rules)
		sum := report.DroppedOf(rules)
		dropped = &sum
		changes, err := compareRules(v, c)
		t.Drift = len(changes)
		if err == nil && t.Exists && !t.Desired && len(v.Records) == 0 {
			var all []string
			all, err = c.Identities()
			t.Unrecorded = len(all)
		}
		return t, err
	})
	return t, dropped, err
}

// fullest is how many groups of source ports are looked for problems.
const fullest = 10

// readFlows sums the kernel's table up. Losses are recent if they grow while the table is
// read, or since an earlier reading of losses.
func readFlows(ctx context.Context, v node.Snapshot, x *report.Node, losses *portpool.LossTracker) error {
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
	ports := portpool.NewCounter(portpool.Options{Groups: fullest, Holders: report.MaxHolders, ReusesClosed: portpool.ReusesClosed()})
	t, err := tally(ctx, v.Owners, c, []node.Query{{}}, func() func(*conntrack.Flow) {
		ports.Begin(portPools(v))
		return ports.Add
	})
	if err != nil {
		return err
	}
	uses, _, _ := ports.End() // may miss groups if the table is crowded; inspect ports reads it twice
	x.Ports = report.PortsOf(&portpool.Sample{Groups: portpool.ForecastsOf(uses)}, false, v.Owners).Groups
	if all, err = c.Statistics(ctx); err != nil {
		return err
	}
	losses.Add(time.Now(), all)
	x.Losses = report.Losses{NoPort: losses.NoPort(), NoRoom: losses.NoRoom(), Evicted: losses.Evicted(), Exhausted: report.Exhausted(x.Ports)}
	if l := x.Daemon.Losses; l != nil { // it has seen more
		x.Losses = *l
	}
	x.Conntrack = report.ConntrackUseOf(table, conntrack.Sum(all))
	x.Conntrack.Accounting, x.Conntrack.Timestamps = setting("acct"), setting("timestamp")
	expected := 0
	for _, err := range c.Expectations(ctx) {
		if err != nil {
			return err
		}
		expected++
	}
	x.Flows = report.FlowsOf(t, expected)
	return nil
}

// setting reads a switch of conntrack. One that the kernel does not have is off.
func setting(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
