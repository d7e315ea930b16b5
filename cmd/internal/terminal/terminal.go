// Package terminal tells whether a stream is a terminal, and whether it shows colors.
package terminal

import (
	"os"

	"github.com/mattn/go-isatty"
)

// Is reports whether a stream is a terminal.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// HasColor reports whether text for a stream may have colors: the stream is a terminal
// that shows them, and NO_COLOR is not set (https://no-color.org).
func HasColor(stream any) bool {
	return Is(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
