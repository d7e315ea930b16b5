package doctor

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// problemCheck is a check whose findings are the problems of one kind in Node.Summary. Its ID
// is the kind.
type problemCheck struct {
	kind                               report.Kind
	title, reads, applies, why, remedy string
	severity                           report.Severity
	// whyWarning replaces why for warnings of a check with severity error; empty: why.
	whyWarning string
	// part is the part of the node that the problems follow from. If the part could not be
	// queried, the check could not be made. Empty: the problems follow from the records.
	part report.Part
	// fix returns what masq-cni can do about the problem. It may be nil, and may return nil.
	fix func(n *Node) *Fix
}

// check returns the check.
func (k problemCheck) check() Check {
	return Check{
		ID: string(k.kind), Title: k.title, Severity: k.severity, Reads: k.reads, Applies: k.applies, Remedy: k.remedy,
		NeedsSummary: true,
		Run:          func(_ context.Context, n *Node) ([]Finding, error) { return k.findings(n) },
	}
}

// findings returns the problems of the kind that concern the attachments to examine.
func (k problemCheck) findings(n *Node) (out []Finding, err error) {
	for _, p := range n.Summary.Problems {
		switch {
		case p.Kind == k.kind && n.isExamined(p.Cause.Attachments):
			f := k.finding(p)
			if k.fix != nil {
				f.Remedy.Fix = k.fix(n)
			}
			out = append(out, f)
		case p.Kind == report.KindQueryFailed && k.part != "" && p.Object == string(k.part):
			err = notChecked(p.String())
		}
	}
	return out, err
}

// finding returns a problem as a finding.
func (k problemCheck) finding(p report.Problem) Finding {
	f := Finding{Severity: p.Severity, Object: p.Object, Message: p.Message, Why: k.why, Evidence: []Evidence{}}
	if k.whyWarning != "" && p.Severity == report.SeverityWarning {
		f.Why = k.whyWarning
	}
	for _, e := range p.Cause.Evidence {
		f.Evidence = append(f.Evidence, Evidence(e))
	}
	f.Remedy.Text, f.Remedy.Commands = p.Cause.Remedy.Text, p.Cause.Remedy.Commands
	return f
}

// isExamined reports whether what concerns these attachments is to be examined. No
// attachments: it concerns the node.
func (n *Node) isExamined(attachments []string) bool {
	return len(n.Only) == 0 || len(attachments) == 0 || slices.ContainsFunc(attachments, func(id string) bool { return slices.Contains(n.Only, id) })
}

// canRepair reports whether a fix can call Repair. It cannot while masqd runs or is stopped by a
// signal: masqd has locked the records, and repairs them itself.
func (n *Node) canRepair() bool {
	return n.Repair != nil && n.Summary != nil && !n.Summary.Daemon.Running && !n.Summary.Daemon.Stopped
}

// makeTable returns the fix for a missing table.
func makeTable(n *Node) *Fix {
	if !n.canRepair() {
		return nil
	}
	return &Fix{
		Does:  "makes table inet masq, with the rules of all attachments",
		Undo:  []string{"nft delete table inet masq"},
		Apply: n.Repair,
	}
}
