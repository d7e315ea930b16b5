package doctor

import (
	"fmt"
	"io"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// The columns of a path, in cells of a terminal with 80 columns.
const (
	kindCells = 13
	nameCells = 33
	noteCells = 80 - 2 - kindCells
)

// The marks before the points of a path.
const (
	markPassed    = "o"
	markInner     = "|"
	markLost      = "X"
	markUnreached = "."
)

// writePath writes the stations of a path, from the container to the destination. It writes
// nothing for a path without stations.
func writePath(w io.Writer, s report.Style, p *doctor.Path) error {
	if p == nil || len(p.Stations) == 0 {
		return nil
	}
	var b strings.Builder
	head := fmt.Sprintf("  %-*s%-*s%s", kindCells, "PATH", nameCells, "NAME", numbers("MTU", "MSS", "ROUND TRIP", "PACKETS"))
	b.WriteString(s.Paint(report.Bold, head) + "\n")
	all := points(p)
	for i := range all {
		writePoint(&b, s, &all[i], i == len(all)-1)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func numbers(mtu, mss, rtt, packets string) string {
	return strings.TrimRight(fmt.Sprintf("%5s %5s %11s %8s", mtu, mss, rtt, packets), " ")
}

// writePoint writes the line of a point, and a line for each note.
func writePoint(b *strings.Builder, s report.Style, x *point, last bool) {
	mark, code, below := markPassed, report.SGR(""), markInner
	switch {
	case x.Lost != "":
		mark, code = markLost, report.Red
	case x.Unreached:
		mark, code = markUnreached, report.Dim
	case x.Inner:
		mark = markInner
	}
	if x.Lost != "" || x.Unreached || last {
		below = " "
	}
	paint := func(text string) string {
		if code == "" {
			return text
		}
		return s.Paint(code, text)
	}
	first := mark + " " + pad(x.Kind, kindCells)
	names := wrapText(x.Name, noteCells)
	figures := numbers(x.MTU, x.MSS, x.RTT, x.Packets)
	// A name that is wider than its column has the figures on the next line.
	if figures != "" && (len(names) > 1 || report.Width(names[0]) >= nameCells) {
		names = append(names, pad("", nameCells)+figures)
		figures = ""
	}
	for i, name := range names {
		if i > 0 {
			first = below + " " + pad("", kindCells)
		}
		line := first + name
		if figures != "" {
			line = first + pad(name, nameCells) + figures
		}
		b.WriteString(paint(strings.TrimRight(line, " ")) + "\n")
	}
	for _, n := range x.notes() {
		for _, line := range wrapText(n.text, noteCells) {
			if n.code != "" {
				line = s.Paint(n.code, line)
			}
			b.WriteString(strings.TrimRight(below+" "+pad("", kindCells)+line, " ") + "\n")
		}
	}
}

// pad fills a text with spaces up to a number of cells, and at least one if it is not empty.
func pad(text string, cells int) string {
	n := cells - report.Width(text)
	if text != "" {
		n = max(n, 1)
	}
	return text + strings.Repeat(" ", max(n, 0))
}
