package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// askFix writes the fixes of a report, and asks whether to apply them. It returns false if
// the report has no fix, or if the answer is not yes.
func askFix(in io.Reader, out output.Writer, r *doctor.Report, yes bool) (bool, error) {
	fixes := r.Fixable()
	if len(fixes) == 0 {
		why := "masq-cni can apply none of the remedies itself"
		if len(r.Findings) == 0 {
			why = "there is no finding"
		}
		_, err := fmt.Fprintln(out, "\nno fix: "+why)
		return false, err
	}
	var b strings.Builder
	b.WriteString("\n")
	for i, f := range fixes {
		label := fmt.Sprintf("fix %d", i+1)
		report.Wrap(&b, textColumn, label, len(label), f.Remedy.Fix.Does)
		part(&b, "undo", strings.Join(f.Remedy.Fix.Undo, "; "))
	}
	if !yes {
		b.WriteString("\napply? [y/N] ")
	}
	if _, err := io.WriteString(out, b.String()); err != nil || yes {
		return yes, err
	}
	if err := out.Flush(); err != nil {
		return false, err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	_, err = fmt.Fprintln(out, "nothing was changed")
	return false, err
}

// applyFixes applies the fixes of a report, and records the results in it.
func applyFixes(ctx context.Context, r *doctor.Report) {
	for _, f := range r.Fixable() {
		a := doctor.AppliedFix{Check: f.Check, Object: f.Object, Does: f.Remedy.Fix.Does, Undo: f.Remedy.Fix.Undo}
		if err := f.Remedy.Fix.Apply(ctx); err != nil {
			a.Error = err.Error()
		}
		r.Fixes = append(r.Fixes, a)
	}
}

// writeFixes writes the results of fixes.
func writeFixes(w io.Writer, s report.Style, r *doctor.Report) error {
	var b strings.Builder
	b.WriteString("\n")
	for _, f := range r.Fixes {
		if f.Error != "" {
			report.Wrap(&b, textColumn, s.Paint(report.Red, "failed"), len("failed"), f.Does+": "+f.Error)
			continue
		}
		report.Wrap(&b, textColumn, s.Paint(report.Green, "done"), len("done"), f.Does)
		part(&b, "undo", strings.Join(f.Undo, "; "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
