package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestList: a List writes the same value as Write, and YAML the same value as JSON.
func TestList(t *testing.T) {
	for n := range 4 {
		want := described()[:n]
		for _, f := range []Format{JSON, YAML} {
			var streamed, whole bytes.Buffer
			l := NewList(&streamed, f)
			for _, x := range want {
				if err := l.Add(x); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.End(); err != nil {
				t.Fatal(err)
			}
			if err := Write(&whole, f, want); err != nil {
				t.Fatal(err)
			}
			if streamed.String() != whole.String() {
				t.Errorf("%s list of %d values:\n%s\nwant\n%s", f, n, streamed.String(), whole.String())
			}
		}
	}
}

// TestIncompleteList: a reader of JSON rejects a list without End.
func TestIncompleteList(t *testing.T) {
	var b bytes.Buffer
	if err := NewList(&b, JSON).Add(1); err != nil {
		t.Fatal(err)
	}
	if json.Valid(b.Bytes()) {
		t.Errorf("%s", b.Bytes())
	}
}

// FuzzEncode: each text is read as the same text, by rules of YAML 1.1 and 1.2.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{hostile, "no", "~", "1e3", "0x1f", "2026-01-01", "- a", "a: b", "\U0001f600\U000e0001", "", " ", "'", `"`, "<<", "=", "1:30", "\u0085", "a\u0085b", "\u2028", "\ufeff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		type value struct {
			Name string   `json:"name"`
			List []string `json:"list"`
		}
		var asJSON, asYAML bytes.Buffer
		v := value{s, []string{s, s}}
		if err := Write(&asJSON, JSON, v); err != nil {
			t.Fatal(err)
		}
		if err := Write(&asYAML, YAML, v); err != nil {
			t.Fatal(err)
		}
		harmless(t, "JSON", asJSON.String())
		harmless(t, "YAML", asYAML.String())
		harmless(t, "text", Clean(s))
		harmless(t, "text", CleanText(s))
		var a value
		if err := json.Unmarshal(asJSON.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		var b map[string]any
		if err := yaml.Unmarshal(asYAML.Bytes(), &b); err != nil {
			t.Fatalf("%v\n%s", err, asYAML.Bytes())
		}
		if !reflect.DeepEqual(b, map[string]any{"name": a.Name, "list": []any{a.Name, a.Name}}) {
			t.Errorf("%q is\n%s", a.Name, asYAML.Bytes())
		}
	})
}

// TestWordsOfYAML11: words that are not text in YAML 1.1 are quoted.
func TestWordsOfYAML11(t *testing.T) {
	for s, quoted := range map[string]bool{"no": true, "Yes": true, "ON": true, "y": true, "null": true, "web": false, "1:30": true, "1e3": true} {
		var b bytes.Buffer
		if err := Write(&b, YAML, map[string]string{"name": s}); err != nil {
			t.Fatal(err)
		}
		want := "name: " + s + "\n"
		if quoted {
			want = "name: \"" + s + "\"\n"
		}
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	}
}
