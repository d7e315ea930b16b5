package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v4"
)

// A list that is written one by one is the same value as one that is written at
// once, and YAML the same as JSON.
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
				t.Errorf("%s of %d:\n%s\nand at once:\n%s", f, n, streamed.String(), whole.String())
			}
		}
	}
}

// A list that was not ended is not taken for a whole one.
func TestListCutShort(t *testing.T) {
	var b bytes.Buffer
	if err := NewList(&b, JSON).Add(1); err != nil {
		t.Fatal(err)
	}
	if json.Valid(b.Bytes()) {
		t.Errorf("%s", b.Bytes())
	}
}

// Both readings of YAML take every text for text.
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

// Readers of YAML 1.1 take more words for something else than ours does.
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
			t.Errorf("%q, not %q", b.String(), want)
		}
	}
}
