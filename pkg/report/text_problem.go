package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// columns is the width in cells at which text is wrapped.
const columns = 80

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
				wrap(&b, "", 0, fmt.Sprintf("%d more of kind %s: masq-cni inspect -o json", n-maxOfKind, p.Kind))
			}
			continue
		}
		label := string(p.Severity)
		if p.Severity != SeverityWarning {
			label = s.Paint(Red, label)
		}
		wrap(&b, label, len(p.Severity), p.String())
		if p.Remedy != "" {
			wrap(&b, "  remedy", len("  remedy"), p.Remedy)
		}
	}
	if len(all) > 0 {
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap writes a label of the given width in cells, and text that is wrapped between words
// and aligned after the label.
func wrap(b *strings.Builder, label string, width int, text string) {
	const indent = 10
	b.WriteString(label + strings.Repeat(" ", indent-width))
	at := indent
	for i, word := range strings.Fields(CleanText(text)) {
		n := displaywidth.String(word)
		switch {
		case i == 0:
		case at+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteString("\n")
}
