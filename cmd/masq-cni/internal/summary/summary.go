// Package summary reads the summary of a node that inspect shows, and whose problems are
// findings of doctor.
package summary

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/compare"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// With up to fewRecords records the garbage collector runs rarely, which saves a tenth of the
// time: with 1,000 records the process takes some 55 MB in place of 35 MB. With many more it
// would take more memory than the pod of masqd may have.
const (
	fewRecords = 2000
	gcPercent  = 400
)

// Open reads the node's summary and returns the node for doctor's checks, with that summary.
// A part that cannot be read becomes a problem of the summary, and the other parts are still
// read. losses has earlier readings of the node, or none. Records and flows are read once for
// both.
func Open(ctx context.Context, n *node.Node, o doctor.Options, losses *portpool.LossTracker) (*doctor.Node, error) {
	s, err := n.SnapshotWithoutNote()
	if err != nil {
		return nil, err
	}
	if len(s.Records) <= fewRecords {
		debug.SetGCPercent(gcPercent)
	}
	o.StateDir, o.Records = n.StateDir, s.Records
	examined, err := doctor.Open(o)
	if err != nil {
		return nil, err
	}
	examined.Unread = s.Unread
	defer examined.VisitContainers(ctx)()
	examined.Summary = read(ctx, n, s, o, losses, examined)
	return examined, nil
}

// read returns the summary.
func read(ctx context.Context, n *node.Node, s node.Snapshot, o doctor.Options, losses *portpool.LossTracker, examined *doctor.Node) *report.Node {
	x := &report.Node{
		Problems: report.Problems{}, Time: report.Time{Time: time.Now().UTC()}, StateDir: n.StateDir, StateDirMissing: n.StateDirMissing(), Policies: s.Desired().Policies(),
		Uplinks: []report.Uplink{}, Firewalls: []report.Firewall{}, Warnings: []string{}, Notes: []string{},
	}
	reportFailure := func(part report.Part, err error) {
		if err != nil {
			x.Report(report.QueryFailed(part, err))
		}
	}
	finish := startConntrack(ctx, s, losses, examined.CountFlows)
	reportRecords(x, s)
	reportFailure(report.PartEgress, s.Desired().Err)
	x.Attachments.Total = len(s.Records)
	for _, r := range s.Records {
		if r.Chained {
			x.Attachments.Chained++
		}
		if !r.Ready {
			x.Attachments.NotReady++
		}
	}
	var err error
	x.Table, x.Dropped, err = readTable(s)
	reportFailure(report.PartTable, err)
	if d := x.Dropped; d != nil && d.Spoofed > 0 {
		var all nft.Dropped
		all, err = node.QueryRules((*nft.Conn).Dropped)
		reportFailure(report.PartTable, err)
		x.Spoofed = report.SpoofedOf(s.Records, all)
	}
	if slices.ContainsFunc(x.Policies, func(p report.Policy) bool { return len(p.DaemonHelpers()) > 0 }) {
		var all []nft.HelperElement
		all, err = node.QueryRules(func(c *nft.Conn) ([]nft.HelperElement, error) {
			return c.HelperElements(ruleset.SpokenMap, ruleset.OpenedMap)
		})
		reportFailure(report.PartTable, err)
		d := report.DaemonHelpersOf(all)
		x.DaemonHelpers = &d
	}
	x.Links, err = linksState(s, o)
	reportFailure(report.PartLinks, err)
	chains, err := node.QueryRules((*nft.Conn).OtherBaseChains)
	reportFailure(report.PartChains, err)
	x.Firewalls = report.FirewallsOf(chains)
	for _, name := range legacyTables() {
		x.Note("not checked: table filter of legacy iptables, which can drop traffic too: %s -S FORWARD", name)
	}
	x.Uplinks, err = node.Uplinks()
	reportFailure(report.PartUplinks, err)
	x.Daemon, err = masqd.StateOf(ctx, s.LockPath, o.Root)
	reportFailure(report.PartDaemon, err)
	examined.ReadAhead()
	reportFailure(report.PartConntrack, finish(x))
	x.ReportRefusals(s.Refusals, s.Records, s.Desired().Attachments)
	x.Evaluate(s.Records)
	return x
}

// reportRecords reports records that cannot be read, and records that masqd rebuilt.
func reportRecords(x *report.Node, s node.Snapshot) {
	for _, e := range store.ReadErrors(s.Unread) {
		x.Report(report.NewProblem(
			report.SeverityError, report.KindRecordUnread, "record "+e.Path,
			"cannot be read: "+e.Err.Error()+"; the rules of its attachment are kept",
			report.Cause{
				Evidence: []report.Evidence{{Source: e.Path, Value: e.Err.Error()}},
				Remedy:   report.Remedy{Text: "restore the file, or recreate the pod that it belongs to"},
			},
		))
	}
	for _, path := range s.Damaged {
		x.Report(report.NewProblem(
			report.SeverityWarning, report.KindRecordUnread, "record "+strings.TrimSuffix(path, ".bad")+".json",
			"was damaged, and was rebuilt from the state of the kernel",
			report.Cause{
				Evidence: []report.Evidence{{Source: path, Value: "the damaged file"}},
				Remedy:   report.Remedy{Text: "read " + path + ", then delete it"},
			},
		))
	}
}

// readTable returns the state of table inet masq, and what its rules have dropped.
func readTable(s node.Snapshot) (t *report.Table, dropped *report.Dropped, err error) {
	t, err = node.QueryRules(func(c *nft.Conn) (*report.Table, error) {
		t := &report.Table{Desired: len(s.Desired().Table.Chains) > 0}
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
		changes, err := s.CompareTable(c)
		t.Drift, t.Unread = len(changes), len(store.ReadErrors(s.Unread))
		// CompareTable appends the unreadable records.
		t.Changes = report.ChangesOf(compare.OfRules("", changes[:max(0, t.Drift-t.Unread)]), nil)
		if err == nil && t.Exists && !t.Desired && len(s.Records) == 0 {
			var all []string
			all, err = c.Identities()
			t.Unrecorded = len(all)
		}
		return t, err
	})
	return t, dropped, err
}
