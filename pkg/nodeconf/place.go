package nodeconf

import "fmt"

// place is where something stands. Lines and columns count from 1, columns in
// characters; line 0 is the file as a whole.
type place struct {
	file         string
	line, column int
}

// String is FILE:LINE:COLUMN.
func (p place) String() string {
	if p.line == 0 {
		return printable(p.file)
	}
	return fmt.Sprintf("%s:%d:%d", printable(p.file), p.line, p.column)
}

// from words a place for a message about another one.
func (p place) from(other place) string {
	if p.file == other.file {
		return fmt.Sprintf("on line %d", p.line)
	}
	return "at " + p.String()
}

// found is a setting and where it was given.
type found[T any] struct {
	place
	value T
	shown string
}
