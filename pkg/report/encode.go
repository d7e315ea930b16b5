package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Format is an output format for programs.
type Format string

// Output formats.
const (
	JSON Format = "json"
	YAML Format = "yaml"
)

// Write writes a value.
func Write(w io.Writer, f Format, v any) error {
	b, err := encode(f, v, "")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// List writes a list value by value, so that a list of millions needs little memory.
type List struct {
	w      io.Writer
	format Format
	n      int
}

// NewList begins a list. The caller calls Add for each value, and then End.
func NewList(w io.Writer, f Format) *List { return &List{w: w, format: f} }

// Add writes the next value.
func (l *List) Add(v any) error {
	indent, before := "  ", ",\n"
	switch {
	case l.format == YAML:
		before = ""
	case l.n == 0:
		before = "[\n"
	}
	b, err := encode(l.format, v, indent)
	if err != nil {
		return err
	}
	if l.format == YAML {
		b = append([]byte("- "), b[len(indent):]...)
	} else {
		b = append([]byte(before), bytes.TrimSuffix(b, []byte("\n"))...)
	}
	l.n++
	_, err = l.w.Write(b)
	return err
}

// End ends the list. Without it, a reader of JSON detects that the list is incomplete.
func (l *List) End() error {
	text := ""
	switch {
	case l.n == 0:
		text = "[]\n"
	case l.format == JSON:
		text = "\n]\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}

// encode encodes a value. It indents all lines, and ends with a newline.
func encode(f Format, v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if f == JSON {
		enc.SetIndent(indent, "  ")
	}
	b.WriteString(indent)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if f == JSON {
		return escape(b.Bytes(), f), nil
	}
	// YAML treats some control characters as line breaks, so they are escaped before and
	// after the conversion.
	out, err := toYAML(escape(b.Bytes(), f), indent)
	return escape(out, f), err
}

// toYAML converts JSON to YAML with the same names in the same order.
func toYAML(text []byte, indent string) ([]byte, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	simplify(&n)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if indent == "" {
		return b.Bytes(), nil
	}
	var out bytes.Buffer
	for line := range bytes.Lines(b.Bytes()) {
		out.WriteString(indent)
		out.Write(line)
	}
	return out.Bytes(), nil
}

// simplify removes the braces of JSON and the quotes of words. Text that a reader of YAML 1.1
// or 1.2 could parse as another type keeps its quotes.
func simplify(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode && len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	if n.Kind == yaml.ScalarNode && (n.Tag != "!!str" || word.MatchString(n.Value) && !reservedWords[strings.ToLower(n.Value)]) {
		n.Style = 0
	}
	for _, c := range n.Content {
		simplify(c)
	}
}

var (
	word = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)
	// https://yaml.org/type/bool.html, https://yaml.org/type/null.html
	reservedWords = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true, "null": true}
)

// escape replaces characters that a terminal may interpret with escapes. The encoders do not
// escape control characters above ASCII. All of these characters are within quotes.
func escape(b []byte, f Format) []byte {
	if bytes.IndexFunc(b, isUnprintable) < 0 {
		return b
	}
	var out []byte
	for _, r := range string(b) {
		switch {
		case !isUnprintable(r):
			out = utf8.AppendRune(out, r)
		case r <= 0xffff:
			out = fmt.Appendf(out, `\u%04x`, r)
		case f == YAML:
			out = fmt.Appendf(out, `\U%08x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
	}
	return out
}

func isUnprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
