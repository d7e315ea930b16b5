package doctor

import (
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// layout are the measures of a picture of a path, in pixels at its natural width.
type layout struct {
	Class string
	Width int
	// pipe is the horizontal center of the path, and half its greatest half-width.
	pipe, half int
	// text is where text begins.
	text int
	// figures is the column of MTU and MSS on the line of the name, or 0 if they have a separate
	// line.
	figures int
}

// The layouts: a page shows the one that fits the screen.
var (
	narrowLayout = layout{Class: "narrow", Width: 328, pipe: 26, half: 18, text: 60}
	wideLayout   = layout{Class: "wide", Width: 760, pipe: 40, half: 30, text: 92, figures: 470}
)

// The measures of text. The font has cells of the same width; cellWidth is an upper limit for
// the fonts of the style sheet at 13 pixels.
const (
	lineHeight = 18
	cellWidth  = 8
	gap        = 14 // between two points
)

// picture is a path as SVG.
type picture struct {
	layout
	Height      int
	Description string
	Pipes       []pipe
	Marks       []mark
	Lines       []line
}

// pipe is the part of the path between two points. Its width shows the MTU.
type pipe struct {
	Class                    string
	Left, Width, Top, Bottom int
}

// Height is the height of the rectangle.
func (p pipe) Height() int { return p.Bottom - p.Top }

// mark is the place of a point.
type mark struct {
	Class string
	X, Y  int
	Cross string // d of the cross of a lost packet, or ""
}

// line is a line of text.
type line struct {
	Class string
	X, Y  int
	Text  string
}

// draw draws a path from top to bottom.
func (l layout) draw(all []point) picture {
	p := picture{layout: l, Description: describe(all)}
	largest := 1
	for _, x := range all {
		largest = max(largest, x.size)
	}
	// A rule has no MTU: the path keeps its width there.
	width := func(size int) int { return max(3, l.half*size/largest) }
	y, half := 24, l.half
	for i := range all {
		x := &all[i]
		if x.size > 0 {
			half = width(x.size)
		}
		top := y
		p.addText(x, &y)
		y += gap
		if i < len(all)-1 {
			class := "pipe"
			switch {
			case all[i+1].Unreached:
				class = "pipe unreached"
			case x.Narrowest:
				class = "pipe narrowest"
			}
			p.addPipe(pipe{Class: class, Left: l.pipe - half, Width: 2 * half, Top: top - 4, Bottom: y - 4})
		}
		p.Marks = append(p.Marks, markOf(x, l.pipe, top-4))
	}
	p.Height = y
	return p
}

// addPipe adds a part of the path, or extends the last part if it looks the same.
func (p *picture) addPipe(x pipe) {
	if n := len(p.Pipes) - 1; n >= 0 && p.Pipes[n].Class == x.Class && p.Pipes[n].Width == x.Width {
		p.Pipes[n].Bottom = x.Bottom
		return
	}
	p.Pipes = append(p.Pipes, x)
}

// addText adds the lines of a point, and moves y below them.
func (p *picture) addText(x *point, y *int) {
	cells := (p.Width - p.text) / cellWidth
	add := func(class string, at, cells int, text string) {
		for _, s := range wrapText(text, cells) {
			p.Lines = append(p.Lines, line{class, at, *y, s})
			*y += lineHeight
		}
	}
	figures := x.figures()
	add("kind", p.text, cells, strings.TrimSpace(x.Kind))
	name := cells
	if p.figures > 0 && figures != "" {
		name = (p.figures-p.text)/cellWidth - 1
	}
	class := "name"
	if x.Unreached {
		class = "name dim"
	}
	at := *y
	add(class, p.text, name, x.Name)
	if figures != "" && p.figures > 0 {
		p.Lines = append(p.Lines, line{"figures", p.figures, at, figures})
	} else if figures != "" {
		add("figures", p.text, cells, figures)
	}
	for _, n := range x.notes() {
		class := "note"
		switch n.code {
		case report.Red:
			class = "note bad"
		case report.Bold:
			class = "note strong"
		}
		add(class, p.text, cells, n.text)
	}
	if x.Unreached {
		add("note", p.text, cells, "not reached")
	}
}

// figures returns the numbers of a point on one line.
func (x *point) figures() string {
	var out []string
	for _, f := range [][2]string{{"MTU ", x.MTU}, {"MSS ", x.MSS}, {"", x.RTT}} {
		if f[1] != "" {
			out = append(out, f[0]+f[1])
		}
	}
	switch x.Packets {
	case "":
	case "1":
		out = append(out, "1 packet")
	default:
		out = append(out, x.Packets+" packets")
	}
	return strings.Join(out, "  ")
}

func markOf(x *point, at, y int) mark {
	m := mark{Class: "mark", X: at, Y: y}
	switch {
	case x.Lost != "":
		m.Class = "mark lost"
		m.Cross = fmt.Sprintf("M%d %dl10 10m0 -10l-10 10", at-5, y-5)
	case x.Unreached:
		m.Class = "mark unreached"
	case x.Narrowest:
		m.Class = "mark narrowest"
	case x.Inner:
		m.Class = "mark inner"
	}
	return m
}
