package report

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// columns is the width in cells at which text is wrapped.
const columns = 80

// Wrap writes text after a label of the given width in cells. It wraps the text between
// words, and aligns the following lines with the first, at a column.
func Wrap(b *strings.Builder, column int, label string, width int, text string) {
	b.WriteString(label + strings.Repeat(" ", max(column-width, 1)))
	at := max(column, width+1)
	for i, word := range strings.Fields(CleanText(text)) {
		n := displaywidth.String(word)
		switch {
		case i == 0:
		case at+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", column))
			at = column
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteString("\n")
}
