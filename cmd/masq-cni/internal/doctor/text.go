package doctor

import (
	"fmt"
	"io"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// writeText writes the report for a person.
func writeText(w io.Writer, _ report.Style, r *doctor.Report) error {
	var b strings.Builder
	fmt.Fprintln(&b, report.CleanText(r.Verdict))
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%s: %s\n", f.Severity, report.CleanText(f.String()))
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "  %s = %s\n", report.CleanText(e.Source), report.CleanText(e.Value))
		}
		fmt.Fprintf(&b, "  why: %s\n  remedy: %s\n", report.CleanText(f.Why), report.CleanText(f.Remedy.Text))
		for _, c := range f.Remedy.Commands {
			fmt.Fprintf(&b, "    %s\n", report.CleanText(c))
		}
	}
	for _, c := range r.NotChecked {
		fmt.Fprintf(&b, "\nnot checked: %s: %s\n", c.Check, report.CleanText(c.Reason))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
