package summary

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// fullChecks are the checks that inspect runs in addition to the cheap ones.
var fullChecks = []string{}

// Examine makes the findings of doctor's checks the problems of a summary, which has been
// read. Problems of the summary that another check explains are omitted. Parts of the node
// that could not be queried stay problems.
func Examine(ctx context.Context, x *report.Node) error {
	n, err := doctor.Open(doctor.Options{StateDir: x.StateDir, ConfDir: cnidir.DefaultConfDir, BinDir: cnidir.DefaultBinDir, Summary: x})
	if err != nil {
		return err
	}
	r := doctor.Run(ctx, n, slices.DeleteFunc(doctor.All(), func(c doctor.Check) bool {
		return c.Cost != doctor.Cheap && !slices.Contains(fullChecks, c.ID)
	}))
	failed := slices.DeleteFunc(slices.Clone(x.Problems), func(p report.Problem) bool { return p.Kind != report.KindQueryFailed })
	x.Problems = report.Problems{}
	for _, p := range failed {
		x.Report(p)
	}
	for _, f := range r.Findings {
		x.Report(f.Problem())
	}
	for _, c := range r.NotChecked {
		if !slices.ContainsFunc(failed, func(p report.Problem) bool { return p.String() == c.Reason }) {
			x.Note("not checked: %s: %s", c.Check, report.CleanText(c.Reason))
		}
	}
	x.Conclude()
	return nil
}
