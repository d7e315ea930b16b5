package summary

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// fullChecks are the checks that inspect makes in addition to the cheap ones, in the first
// MaxContainers containers that it may enter.
var fullChecks = []string{"container-default-route", "path-mtu-black-hole"}

// Examine runs doctor's cheap checks and some others. It returns the node's summary with
// their findings as its problems. A part that could not be queried stays a problem.
func Examine(ctx context.Context, n *doctor.Node) *report.Node {
	r := doctor.Run(ctx, n, slices.DeleteFunc(doctor.All(), func(c doctor.Check) bool {
		return c.Cost != doctor.Cheap && !slices.Contains(fullChecks, c.ID)
	}))
	x := n.Summary
	failed := slices.DeleteFunc(slices.Clone(x.Problems), func(p report.Problem) bool { return p.Kind != report.KindQueryFailed })
	x.Problems = report.Problems{}
	for _, p := range failed {
		x.Report(p)
	}
	for _, f := range r.Findings {
		x.Report(f.Problem())
	}
	for _, c := range r.NotChecked {
		known := slices.ContainsFunc(failed, func(p report.Problem) bool { return p.String() == c.Reason })
		if !known && !slices.Contains(fullChecks, c.Check) {
			x.Note("not checked: %s: %s", c.Check, report.CleanText(c.Reason))
		}
	}
	x.Conclude()
	return x
}
