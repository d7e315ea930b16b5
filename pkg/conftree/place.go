package conftree

import "fmt"

// Place is a position in a configuration text.
type Place struct {
	// File is empty for a text that is not a file.
	File string
	// Line and Column count from 1, columns in characters. Both are 0 if there is no
	// position.
	Line, Column int
}

// String returns FILE:LINE:COLUMN, or "line LINE, column COLUMN" without a file.
func (p Place) String() string {
	switch {
	case p.File == "" && p.Line == 0:
		return ""
	case p.File == "":
		return fmt.Sprintf("line %d, column %d", p.Line, p.Column)
	case p.Line == 0:
		return printable(p.File)
	default:
		return fmt.Sprintf("%s:%d:%d", printable(p.File), p.Line, p.Column)
	}
}

// From returns the place as part of a message about another place: "on line 3, column 5" if
// both are in one file, and otherwise "at FILE:LINE:COLUMN".
func (p Place) From(other Place) string {
	if p.File == other.File {
		return fmt.Sprintf("on line %d, column %d", p.Line, p.Column)
	}
	return "at " + p.String()
}

// Found is a setting and the place where it is given.
type Found[T any] struct {
	Place
	Value T
	Shown string // the value as a message repeats it
}

// Find returns the first setting whose value is the given one, or nil.
func Find[T comparable](all []Found[T], value T) *Found[T] {
	for i, f := range all {
		if f.Value == value {
			return &all[i]
		}
	}
	return nil
}

// Values returns settings without their places.
func Values[T any](all []Found[T]) []T {
	var out []T
	for _, f := range all {
		out = append(out, f.Value)
	}
	return out
}
