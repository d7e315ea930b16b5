package report

import (
	"fmt"
	"io"
	"strings"
)

// problemColumn is the column of the text of problems, after their severity.
const problemColumn = 10

// maxOfKind is the number of problems of one kind and severity that are written in full.
const maxOfKind = 5

// write writes the verdict and each problem with its remedy. If many problems have the same
// kind and severity, it writes maxOfKind of them and the number of the others.
func (all Problems) write(w io.Writer, s Style) error {
	var b strings.Builder
	verdict, color := CleanText(all.Verdict()), Red
	if all.Healthy() {
		color = Green
	}
	b.WriteString(s.Paint(color, verdict) + "\n\n")
	type class struct {
		Severity
		Kind
	}
	seen := map[class]int{}
	for _, p := range all {
		seen[class{p.Severity, p.Kind}]++
	}
	written := map[class]int{}
	for _, p := range all {
		of := class{p.Severity, p.Kind}
		written[of]++
		if n := seen[of]; n > maxOfKind+1 && written[of] > maxOfKind {
			if written[of] == n {
				Wrap(&b, problemColumn, "", 0, fmt.Sprintf("%d more of kind %s: masq-cni inspect -o json", n-maxOfKind, p.Kind))
			}
			continue
		}
		label := string(p.Severity)
		if p.Severity != SeverityWarning {
			label = s.Paint(Red, label)
		}
		Wrap(&b, problemColumn, label, len(p.Severity), p.String())
		if p.Remedy != "" {
			Wrap(&b, problemColumn, "  remedy", len("  remedy"), p.Remedy)
		}
	}
	if len(all) > 0 {
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
