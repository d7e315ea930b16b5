package nodeconf

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// mostBytes is the longest file that is read. A ConfigMap holds no more either
// (1 MiB, the limit of an object in etcd).
const mostBytes = 1 << 20

// cursor finds lines and columns by offsets that do not go back.
type cursor struct {
	file         string
	data         []byte
	offset       int
	line, column int
}

func newCursor(file string, data []byte) *cursor {
	return &cursor{file: file, data: data, line: 1, column: 1}
}

// at is the place of an offset, which must not lie before the last one asked for.
func (c *cursor) at(offset int) place {
	for c.offset < min(offset, len(c.data)) {
		_, size := utf8.DecodeRune(c.data[c.offset:])
		if c.data[c.offset] == '\n' {
			c.line, c.column = c.line+1, 1
		} else {
			c.column++
		}
		c.offset += size
	}
	return place{c.file, c.line, c.column}
}

// decode reads a file that is JSON or YAML. The result is null for a file that
// says nothing, and unread where there was a fault.
func decode(file string, data []byte, fs *faults) value {
	whole := place{file: file}
	if len(data) > mostBytes {
		fs.fault(whole, "", "", fmt.Sprintf("is longer than %d bytes", mostBytes), "give a shorter file")
		return value{}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !readable(file, data, fs) {
		return value{}
	}
	// As there: what begins like an object is JSON and nothing else
	// (k8s.io/apimachinery/pkg/util/yaml, ToJSON).
	if text := bytes.TrimLeftFunc(data, unicode.IsSpace); len(text) > 0 && text[0] == '{' {
		return decodeJSON(file, data, fs)
	}
	return decodeYAML(file, data, fs)
}

// readable reports the first byte that belongs to no text.
func readable(file string, data []byte, fs *faults) bool {
	c := newCursor(file, data)
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fs.fault(c.at(i), "", fmt.Sprintf("byte 0x%02x", data[i]), "is not UTF-8", "save the file as UTF-8")
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\x7f':
			fs.fault(c.at(i), "", fmt.Sprintf("%U", r), "is a control character", "remove it")
			return false
		}
		i += size
	}
	return true
}
