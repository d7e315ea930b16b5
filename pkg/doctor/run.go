package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var severities = []report.Severity{report.SeverityError, report.SeverityUnknown, report.SeverityWarning}

// Run runs the checks, and returns their findings: the worst first, and among findings of one
// severity in the order of the checks.
func Run(ctx context.Context, n *Node, checks []Check) Report {
	r := Report{Time: report.Time{Time: n.Now.UTC()}, Target: n.Target, Findings: []Finding{}, NotChecked: []NotChecked{}, Checks: []string{}}
	for _, c := range checks {
		if c.NeedsSummary && n.Summary == nil || c.Cost == Probe && n.Target == nil {
			continue
		}
		found, err := c.Run(ctx, n)
		for _, f := range found {
			f.Check = c.ID
			r.Findings = append(r.Findings, f)
		}
		if err != nil {
			r.NotChecked = append(r.NotChecked, NotChecked{c.ID, err.Error()})
			continue
		}
		r.Checks = append(r.Checks, c.ID)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return slices.Index(severities, a.Severity) - slices.Index(severities, b.Severity)
	})
	r.Path = n.path(ctx)
	r.Healthy, r.Verdict = len(r.Findings) == 0, r.verdict()
	if r.Healthy && n.lacksMasq() {
		r.Verdict = fmt.Sprintf("masq-cni is not in use on this node: no network in %s has masq, %s does not exist, and there is no table inet masq; %s", n.confDir(), n.StateDir, r.Verdict)
	}
	return r
}

// lacksMasq reports whether nothing of masq-cni is on the node: neither a network with masq, nor
// records, nor the table.
func (n *Node) lacksMasq() bool {
	if n.Summary == nil || !n.Summary.StateDirMissing || n.Summary.Table == nil || n.Summary.Table.Exists {
		return false
	}
	files, err := n.networks()
	return err == nil && !slices.ContainsFunc(files, func(f cnidir.NetworkFile) bool { return runsMasq(&f) })
}
