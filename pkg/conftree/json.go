package conftree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// SyntaxError is the first syntax error of a text.
type SyntaxError struct {
	Place
	Err error
}

func (e *SyntaxError) Error() string { return e.String() + ": " + e.Err.Error() }

// ParseJSON returns the tree of a JSON text. An error is a *SyntaxError.
func ParseJSON(file string, data []byte) (Value, error) {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 { // encoding/json replaces it silently
			return Value{}, &SyntaxError{NewCursor(file, data).At(i), fmt.Errorf("byte 0x%02x is not UTF-8", data[i])}
		}
		i += size
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		at := Place{File: file}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = NewCursor(file, data).At(int(max(syntax.Offset-1, 0)))
		}
		return Value{}, &SyntaxError{at, err}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	d := jsonDecoder{dec: dec, data: data, cursor: NewCursor(file, data)}
	return d.value(), nil
}

// jsonDecoder reads valid JSON.
type jsonDecoder struct {
	dec    *json.Decoder
	data   []byte
	cursor *Cursor
}

func (d *jsonDecoder) value() Value {
	start := int(d.dec.InputOffset())
	for start < len(d.data) && bytes.IndexByte([]byte(" \t\r\n,:"), d.data[start]) >= 0 {
		start++
	}
	v := Value{Place: d.cursor.At(start)}
	token, err := d.dec.Token()
	if err != nil {
		return v
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			v.Kind = Object
			for d.dec.More() {
				key := d.value()
				v.Members = append(v.Members, Member{key, d.value()})
			}
		} else {
			v.Kind = List
			for d.dec.More() {
				v.Items = append(v.Items, d.value())
			}
		}
		_, _ = d.dec.Token() // the closing bracket
	case string:
		v.Kind, v.Text = String, t
	case json.Number:
		v.Kind, v.Text = Number, t.String()
	case bool:
		v.Kind, v.Text = Boolean, "false"
		if t {
			v.Text = "true"
		}
	default:
		v.Kind = Null
	}
	v.Raw = d.data[start:d.dec.InputOffset()]
	return v
}
