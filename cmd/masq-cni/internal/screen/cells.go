package screen

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// cells returns how many cells of a terminal a text fills.
func cells(text string) int { return displaywidth.String(text) }

// cut returns the beginning of a text that fills at most width cells.
func cut(text string, width int) string { return displaywidth.TruncateString(text, width, "") }

// cutLeft returns a text without its first cells.
func cutLeft(text string, width int) string { return text[len(cut(text, width)):] }

// wrap breaks a text at separators into lines of at most width cells. It cuts off what
// maxLines lines cannot hold.
func wrap(text, separator string, width, maxLines int) (lines []string) {
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, separator) {
		if n := len(lines); n > 0 {
			if longer := lines[n-1] + separator + word; cells(longer) <= width || n == maxLines {
				lines[n-1] = longer
				continue
			}
		}
		lines = append(lines, word)
	}
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return lines
}
