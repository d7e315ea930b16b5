package conftree

import "unicode/utf8"

// Cursor converts offsets in a text to places. Offsets must not decrease.
type Cursor struct {
	data   []byte
	offset int
	place  Place
}

// NewCursor returns a cursor at the beginning of a text.
func NewCursor(file string, data []byte) *Cursor {
	return &Cursor{data: data, place: Place{File: file, Line: 1, Column: 1}}
}

// At returns the place of an offset.
func (c *Cursor) At(offset int) Place {
	for c.offset < min(offset, len(c.data)) {
		_, size := utf8.DecodeRune(c.data[c.offset:])
		if c.data[c.offset] == '\n' {
			c.place.Line, c.place.Column = c.place.Line+1, 1
		} else {
			c.place.Column++
		}
		c.offset += size
	}
	return c.place
}
