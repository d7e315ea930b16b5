package conftree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// flat lists the values of a tree with their places and texts.
func flat(v Value) (out []string) {
	out = append(out, fmt.Sprintf("%d:%d %s", v.Line, v.Column, v.Raw))
	for _, m := range v.Members {
		out = append(append(out, flat(m.Key)...), flat(m.Value)...)
	}
	for _, item := range v.Items {
		out = append(out, flat(item)...)
	}
	return out
}

func TestParseJSON(t *testing.T) {
	v, err := ParseJSON("", []byte(" {\"ü\" : [1,\n\ttrue ],\"b\":\r\n{ } , \"b\": null}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1:2 {\"ü\" : [1,\n\ttrue ],\"b\":\r\n{ } , \"b\": null}",
		"1:3 \"ü\"", "1:9 [1,\n\ttrue ]", "1:10 1", "2:2 true",
		"2:9 \"b\"", "3:1 { }", "3:7 \"b\"", "3:12 null",
	}
	if got := flat(v); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if b, given := v.Member("b"); !given || b.Kind != Null {
		t.Errorf("the last value of a repeated key should count, got %+v", b)
	}
	if _, given := v.Member("c"); given {
		t.Error("a missing key has a value")
	}
}

func TestParseJSONFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                "f:1:1: unexpected end of JSON input",
		"{\n \"a\" 1}":    "f:2:6: invalid character '1' after object key",
		"[1]\n 2":         "f:2:2: invalid character '2' after top-level value",
		"[\"ü\", \"\xff":  "f:1:8: byte 0xff is not UTF-8",
		"{\"a\":\n\"\x01": "f:2:2: invalid character '\\x01' in string literal",
	} {
		_, err := ParseJSON("f", []byte(text))
		if _, ok := errors.AsType[*SyntaxError](err); !ok || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestShow(t *testing.T) {
	for raw, want := range map[string]string{
		`"a\u001b"`:              `"a\x1b"`,
		"{ \"a\" :\n[ 1 ] }":     `"{\"a\":[1]}"`,
		"[ ]":                    `"[]"`,
		"null":                   "null",
		"true":                   "true",
		"-1.5e3":                 "-1.5e3",
		strings.Repeat("1", 121): strings.Repeat("1", 120) + "...",
	} {
		v, err := ParseJSON("", []byte(raw))
		if err != nil || v.Show() != want {
			t.Errorf("%s is shown as %s, want %s (%v)", raw, v.Show(), want, err)
		}
	}
}

// The tree has the same values as encoding/json, and each value has its own text.
func FuzzParseJSON(f *testing.F) {
	for _, text := range []string{`{"a": [1, -2.5e3, "\ud83d\ude00", true, null, {}], "a": {"b": []}}`, " \"x\"\n", "[[[]]]", "{", "1 2", "\xff", `{"\u0000":"\t"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ParseJSON("", text)
		var want any
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if got := plain(t, v); !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, want %#v", got, want)
		}
	})
}

// plain returns a tree as encoding/json decodes it, and checks Raw of each value.
func plain(t *testing.T, v Value) any {
	t.Helper()
	if again, err := ParseJSON("", v.Raw); err != nil || again.Kind != v.Kind || again.Text != v.Text {
		t.Errorf("the text %q is not the text of %+v", v.Raw, v)
	}
	switch v.Kind {
	case Boolean:
		return v.Text == "true"
	case Number:
		return json.Number(v.Text)
	case String:
		return v.Text
	case List:
		out := []any{}
		for _, item := range v.Items {
			out = append(out, plain(t, item))
		}
		return out
	case Object:
		out := map[string]any{}
		for _, m := range v.Members {
			out[m.Key.Text] = plain(t, m.Value)
		}
		return out
	default:
		return nil
	}
}
