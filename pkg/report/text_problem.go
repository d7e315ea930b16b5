package report

import (
	"io"
	"strings"
	"unicode/utf8"
)

// columns is the width of a terminal that text is wrapped for.
const columns = 80

// writeProblems writes the verdict in a line, and each problem with its remedy.
func (all Problems) write(w io.Writer, s Style) error {
	var b strings.Builder
	verdict, color := Sentence(all.Verdict()), red
	if all.Healthy() {
		color = green
	}
	b.WriteString(s.paint(color, verdict) + "\n\n")
	for _, p := range all {
		label := string(p.Severity)
		if p.Severity != SeverityWarning {
			label = s.paint(red, label)
		}
		hang(&b, label, len(p.Severity), p.String())
		if p.Remedy != "" {
			hang(&b, "  remedy", len("  remedy"), p.Remedy)
		}
	}
	if len(all) > 0 {
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// hang writes text behind a label of a width, wrapped between words, with all lines
// below each other.
func hang(b *strings.Builder, label string, width int, text string) {
	const indent = 10
	b.WriteString(label + strings.Repeat(" ", indent-width))
	at := indent
	for i, word := range strings.Fields(Sentence(text)) {
		n := utf8.RuneCountInString(word)
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
