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

// Plugin is the type of our plugin, which is the name of its program too.
const Plugin = "masq"

// list is a list of plugins as text, and where each stands in it.
type list struct {
	text []byte
	conf *libcni.NetworkConfigList
	at   []span
}

// span is a piece of text, from its first byte to the one behind it.
type span struct{ from, to int }

var errNotInline = errors.New("its plugins are in files of their own; put masq there by hand, after the one that makes the link")

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
		return nil, fmt.Errorf("%d plugins are in its text, and libcni finds %d", len(l.at), len(conf.Plugins))
	}
	return l, nil
}

// elements finds the elements of "plugins" in the text of an object.
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
		// The last counts, but a person takes the first for it.
		if seen {
			return nil, errors.New(`"plugins" is there twice; remove one`)
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
		return nil, errors.New("there is something behind the object")
	}
	return out, nil
}

// ours are the indices of masq among the plugins.
func (l *list) ours() (out []int) {
	for i, p := range l.conf.Plugins {
		if p.Network.Type == Plugin {
			out = append(out, i)
		}
	}
	return out
}

// inserted is the text with an entry behind the first plugin: what makes the link is
// always the first, for it alone needs no result from before.
func (l *list) inserted(entry json.RawMessage) ([]byte, error) {
	if len(l.at) == 0 {
		return nil, errNotInline
	}
	// As the next one stands below it, or as it stands itself.
	like := l.at[min(1, len(l.at)-1)]
	space := l.spaceBefore(like.from)
	entry, err := laidOut(entry, space)
	if err != nil {
		return nil, err
	}
	to := l.at[0].to
	return l.checked(slices.Concat(l.text[:to], []byte{','}, space, entry, l.text[to:]))
}

// replaced is the text with another entry for that of masq.
func (l *list) replaced(i int, entry json.RawMessage) ([]byte, error) {
	entry, err := laidOut(entry, l.spaceBefore(l.at[i].from))
	if err != nil {
		return nil, err
	}
	return l.checked(slices.Concat(l.text[:l.at[i].from], entry, l.text[l.at[i].to:]))
}

// removed is the text without the entries at these indices, none of which is the
// first. Of one that was inserted it is the text as it was before.
func (l *list) removed(indices ...int) ([]byte, error) {
	text := l.text
	for _, i := range slices.Backward(indices) {
		text = slices.Concat(text[:l.at[i-1].to], text[l.at[i].to:])
	}
	return l.checked(text)
}

// spaceBefore is the white space before a place.
func (l *list) spaceBefore(at int) []byte {
	return l.text[len(bytes.TrimRight(l.text[:at], " \t\r\n")):at]
}

// laidOut writes an entry as it looks behind such space: over several lines where the
// others stand on lines of their own.
func laidOut(entry json.RawMessage, space []byte) ([]byte, error) {
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

// checked returns a changed text if libcni takes it, and if nothing but entries of
// masq differs from the text before.
func (l *list) checked(text []byte) ([]byte, error) {
	after, err := parseList(text)
	if err != nil {
		return nil, fmt.Errorf("libcni refuses what it would become: %w", err)
	}
	was, err := l.others()
	if err != nil {
		return nil, err
	}
	is, err := after.others()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(was, is) {
		return nil, errors.New("more than the entry of masq would change; put masq there by hand, after the first plugin")
	}
	return text, nil
}

// others is all that a list says but for masq.
func (l *list) others() (map[string]any, error) {
	v, err := decoded(l.text)
	if err != nil {
		return nil, err
	}
	all := v.(map[string]any) // parseList has seen that it is one
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

// decoded is a JSON value with its numbers as they are written.
func decoded(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// same reports whether two texts are the same value.
func same(a, b []byte) bool {
	x, errX := decoded(a)
	y, errY := decoded(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// entryAt is the text of a plugin.
func (l *list) entryAt(i int) []byte { return l.text[l.at[i].from:l.at[i].to] }
