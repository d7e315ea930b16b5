package cnidir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/containernetworking/cni/libcni"
)

// Plugin is the type of our plugin and the name of its program.
const Plugin = "masq"

// list is the configuration of a network, as text and parsed.
type list struct {
	text []byte
	conf *libcni.NetworkConfigList
	at   []span // the plugins in text
}

// span is a part of a text: from its first byte to the byte after its last.
type span struct{ from, to int }

var errNotInline = errors.New("its plugins are in separate files; add masq to them by hand, after the plugin that makes the link")

// parseList reads a list as libcni does.
func parseList(text []byte) (*list, error) {
	conf, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		return nil, err
	}
	l := &list{text: text, conf: conf}
	if l.at, err = elements(text); err != nil {
		return nil, err
	}
	if len(l.at) != len(conf.Plugins) {
		return nil, fmt.Errorf("its text has %d plugins, and libcni finds %d", len(l.at), len(conf.Plugins))
	}
	return l, nil
}

// elements returns the elements of "plugins" in the text of an object.
func elements(text []byte) (out []span, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("is not an object"), err)
	}
	seen := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if key != "plugins" {
			if err := d.Decode(new(json.RawMessage)); err != nil {
				return nil, err
			}
			continue
		}
		// libcni takes the last list, and readers expect the first.
		if seen {
			return nil, errors.New(`"plugins" is given twice; remove one`)
		}
		seen = true
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return nil, errors.Join(errors.New(`"plugins" is not a list`), err)
		}
		for d.More() {
			var element json.RawMessage
			if err := d.Decode(&element); err != nil {
				return nil, err
			}
			to := int(d.InputOffset())
			out = append(out, span{to - len(element), to})
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has text after the object")
	}
	return out, nil
}

// masqIndexes returns the indexes of masq among the plugins.
func (l *list) masqIndexes() (out []int) {
	for i, p := range l.conf.Plugins {
		if p.Network.Type == Plugin {
			out = append(out, i)
		}
	}
	return out
}

// insert returns the text with an entry after the first plugin. The first plugin is always
// the plugin that makes the link, because only it needs no previous result.
func (l *list) insert(entry json.RawMessage) ([]byte, error) {
	if len(l.at) == 0 {
		return nil, errNotInline
	}
	// Lay out the entry as the second plugin, or as the only plugin.
	like := l.at[min(1, len(l.at)-1)]
	space := l.spaceBefore(like.from)
	entry, err := indent(entry, space)
	if err != nil {
		return nil, err
	}
	to := l.at[0].to
	return l.check(slices.Concat(l.text[:to], []byte{','}, space, entry, l.text[to:]))
}

// replace returns the text with another entry of masq.
func (l *list) replace(i int, entry json.RawMessage) ([]byte, error) {
	entry, err := indent(entry, l.spaceBefore(l.at[i].from))
	if err != nil {
		return nil, err
	}
	return l.check(slices.Concat(l.text[:l.at[i].from], entry, l.text[l.at[i].to:]))
}

// remove returns the text without the entries with these indexes, none of which is the
// first. After insert, it returns the original text.
func (l *list) remove(indices ...int) ([]byte, error) {
	text := l.text
	for _, i := range slices.Backward(indices) {
		text = slices.Concat(text[:l.at[i-1].to], text[l.at[i].to:])
	}
	return l.check(text)
}

// spaceBefore returns the white space before an offset.
func (l *list) spaceBefore(at int) []byte {
	return l.text[len(bytes.TrimRight(l.text[:at], " \t\r\n")):at]
}

// indent lays out an entry for white space before it: over several lines if the other
// plugins begin on separate lines.
func indent(entry json.RawMessage, space []byte) ([]byte, error) {
	var b bytes.Buffer
	line := bytes.LastIndexByte(space, '\n')
	if line < 0 {
		err := json.Compact(&b, entry)
		return b.Bytes(), err
	}
	margin, step := string(space[line+1:]), "  "
	if bytes.ContainsRune(space, '\t') {
		step = "\t"
	}
	err := json.Indent(&b, entry, margin, step)
	return b.Bytes(), err
}

// check returns a changed text if libcni accepts it and if only entries of masq differ from
// the text before.
func (l *list) check(text []byte) ([]byte, error) {
	after, err := parseList(text)
	if err != nil {
		return nil, fmt.Errorf("libcni refuses the changed list: %w", err)
	}
	was, err := l.otherKeys()
	if err != nil {
		return nil, err
	}
	is, err := after.otherKeys()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(was, is) {
		return nil, errors.New("more than the entry of masq would change; add masq by hand, after the first plugin")
	}
	return text, nil
}

// otherKeys returns the content of a list without masq.
func (l *list) otherKeys() (map[string]any, error) {
	v, err := decode(l.text)
	if err != nil {
		return nil, err
	}
	all := v.(map[string]any) // parseList has checked it
	plugins, _ := all["plugins"].([]any)
	var rest []any
	for i, p := range plugins {
		if l.conf.Plugins[i].Network.Type != Plugin {
			rest = append(rest, p)
		}
	}
	all["plugins"] = rest
	return all, nil
}

// decode decodes a JSON value, and keeps numbers as written.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// sameJSON reports whether two JSON texts have the same value.
func sameJSON(a, b []byte) bool {
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// entryAt returns the text of a plugin.
func (l *list) entryAt(i int) []byte { return l.text[l.at[i].from:l.at[i].to] }
