package demo

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/cmd/internal/terminal"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// printer prints the story for a person.
type printer struct {
	w     io.Writer
	style report.Style
	n     int // steps printed
}

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, style: report.Style{Color: terminal.HasColor(w)}}
}

func (p *printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

// begin prints a drawing of the lab.
func (p *printer) begin() {
	p.line("container ---- node ----[ MTU %d ]---- router ---- server", uplinkMTU)
	p.line("%s     192.0.2.2               192.0.2.1   198.51.100.2", "10.88.0.x")
	p.line("The router drops ICMP \"fragmentation needed\". The server has no route to %s.", subnet)
}

// step prints a step.
func (p *printer) step(s Step) {
	p.n++
	mark := p.style.Paint(report.Green, "ok")
	if !s.OK {
		mark = p.style.Paint(report.Red, "FAILED")
	}
	p.line("\n%s  %s  %s", p.style.Paint(report.Bold, fmt.Sprintf("%d. %s", p.n, s.Title)), mark, p.style.Paint(report.Dim, fmt.Sprintf("%.2f s", s.Seconds)))
	for _, t := range s.Text {
		p.line("%s", wrap(t, "   ", 80))
	}
	if s.Problem != "" {
		p.line("   %s", p.style.Paint(report.Red, s.Problem))
	}
}

// end prints the ruleset, how to use a lab that was kept, and the summary.
func (p *printer) end(s Story) {
	if s.Ruleset != "" {
		p.line("")
		for line := range strings.Lines(s.Ruleset) {
			p.line("   %s", p.style.Paint(report.Dim, strings.TrimRight(strings.ReplaceAll(line, "\t", "  "), "\n")))
		}
	}
	for i, name := range slices.Sorted(maps.Keys(s.Enter)) {
		if i == 0 {
			p.line("\nThe lab is kept. To enter its namespaces:")
		}
		p.line("   %-8s %s", name, s.Enter[name])
	}
	if len(s.Enter) > 0 {
		p.line("To inspect its node: %s", s.Inspect)
		p.line("To remove it: masq-cni demo --clean")
	}
	succeeded := 0
	for _, x := range s.Steps {
		if x.OK {
			succeeded++
		}
	}
	p.line("\n%d of %d steps succeeded, in %.1f s.", succeeded, len(s.Steps), s.Seconds)
}

// wrap breaks a text into lines of at most width characters.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	n := width
	for i, word := range strings.Fields(text) {
		if i == 0 || n+1+len(word) > width {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(indent + word)
			n = len(indent) + len(word)
			continue
		}
		b.WriteString(" " + word)
		n += 1 + len(word)
	}
	return b.String()
}
