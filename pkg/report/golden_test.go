package report

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/masq-cni/masq-cni/test/golden"
)

// shown returns a value for each command, and the function that writes it as text.
func shown(t *testing.T) map[string]struct {
	value any
	text  func(io.Writer, Style) error
} {
	t.Helper()
	node := nodeValue(t)
	return map[string]struct {
		value any
		text  func(io.Writer, Style) error
	}{
		"node":    {node, node.WriteText},
		"pods":    {attachments(), func(w io.Writer, s Style) error { return WriteAttachments(w, s, attachments(), noon) }},
		"pod":     {pods(), func(w io.Writer, s Style) error { return WritePods(w, s, pods(), noon) }},
		"helpers": {helpersValue(), helpersValue().WriteText},
		"rules":   {rulesValue(), func(w io.Writer, s Style) error { return WriteRules(w, s, rulesValue()) }},
		"ports":   {portsValue(), portsValue().WriteText},
		"drift":   {driftValue(), driftValue().WriteText},
		"flows": {described(), func(w io.Writer, s Style) error {
			t := NewListing(w, s, FlowColumns())
			for _, f := range described() {
				if err := t.Add(f); err != nil {
					return err
				}
			}
			return t.End()
		}},
	}
}

// TestText compares the text output with golden files.
func TestText(t *testing.T) {
	for name, x := range shown(t) {
		for suffix, s := range map[string]Style{"": {}, "-wide": {Wide: true}} {
			var plain, colored bytes.Buffer
			if err := x.text(&plain, s); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata", name+suffix+".txt"), plain.Bytes())
			harmless(t, name, plain.String())
			s.Color = true
			if err := x.text(&colored, s); err != nil {
				t.Fatal(err)
			}
			// Only the renditions that masq-cni uses differ.
			got := colored.String()
			for _, code := range []SGR{Bold, Red, Green, "0"} {
				got = strings.ReplaceAll(got, "\x1b["+string(code)+"m", "")
			}
			if got != plain.String() {
				t.Errorf("%s without colors:\n%s", name, got)
			}
			if name != "pods" && !strings.Contains(colored.String(), "\x1b[") {
				t.Errorf("%s has no colors", name)
			}
		}
	}
}

// TestJSONAndYAML compares the output for programs with golden files.
func TestJSONAndYAML(t *testing.T) {
	for name, x := range shown(t) {
		for _, f := range []Format{JSON, YAML} {
			var b bytes.Buffer
			if err := Write(&b, f, x.value); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata", name+"."+string(f)), b.Bytes())
			harmless(t, name, b.String())
		}
	}
}

// harmless reports characters that a terminal may interpret.
func harmless(t *testing.T, name, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8", name)
	}
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s: %U is not escaped, after %q", name, r, text[max(0, i-20):i])
		}
	}
}
