package nodeconf

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(full), []byte(""))
	for _, text := range []string{
		"", "*", "{*", "[", "null", "---\n---\n", "a: &a [*a]", "<<: {a: 1}", "? [a]\n: b", "\xff", "\ufeff{}", "a:\n\tb", "!!omap {}", "%YAML 1.1\n---\n",
		`{"NonMasqueradeCIDRs":["10.0.0.0/8"],"MasqLinkLocal":true,"ResyncInterval":"1m0s"}`, `{"helpers": {"h323": [], "sip": [1720]}, "x": "\ud83d\ude00\u001b"}`,
		"nonMasqueradeCIDRs:\nmasqLinkLocal: yes\ncidrLimit: 0100", "masqueradeCIDRs: [10.0.0.0/8, ::/0]", "nonMasqueradeCIDRs: [10.0.0.1/8, '::ffff:0:0/95', 5, fe80::%a/64]",
		"snatAddresses: [192.0.2.1, 2001:db8::1, '::', fe80::1%x]\ntoPorts: 2000-3000,2500,,99999-1", "mssClamp: .inf\nresyncInterval: 1e3h", "toPorts: !!str 20000\nmssClamp: off",
		"sourceCIDRs: [::/0]\nrandomFully: off\ndropInvalid: n\nacceptOtherLinks: y\nresyncInterval: 1.5s\ncidrLimit: 3", "apiVersion: v1\ndata: |\n  x\n", "\"\\e]0;x\\a\": '\u202e'",
	} {
		f.Add([]byte(text), []byte("mssClamp: 1360\nnonMasqueradeCIDRs: [10.0.0.0/8]"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		n, err := Parse("a", a)
		again, errAgain := Parse("a", a)
		if !reflect.DeepEqual(n, again) || !reflect.DeepEqual(err, errAgain) {
			t.Fatalf("two readings differ: %+v %v, %+v %v", n, err, again, errAgain)
		}
		checkResult(t, n, err)
		n, err = parse([]file{{name: "a", data: a}, {name: "b", data: b}})
		checkResult(t, n, err)
	})
}

func checkResult(t *testing.T, n Node, err error) {
	t.Helper()
	if err != nil {
		checkErrors(t, err)
		return
	}
	if err := n.Policy.Validate(); err != nil {
		t.Errorf("%+v: %v", n, err)
	}
	if len(n.Warnings) > 0 {
		checkErrors(t, n.Warnings)
		n.Warnings = nil // Parse does not accept them
	}
	// Written as a file, it matches the schema and has the same meaning.
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if bad := violations(decoded(t), v, ""); bad != nil {
		t.Errorf("%s: %v", text, bad)
	}
	back, err := Parse("written", text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if back.Assumed = n.Assumed; !reflect.DeepEqual(back, n) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", text, back, n)
	}
	for _, f := range LegacyFlags() {
		if f.Bool {
			_ = f.Apply(&n, "true")
		}
	}
	if err := n.Policy.Validate(); err != nil {
		t.Errorf("after flags, %+v: %v", n, err)
	}
}

// checkErrors asserts the properties of every error: its type, and one line for each fault,
// with its place and without control characters.
func checkErrors(t *testing.T, err error) {
	t.Helper()
	fs, ok := err.(conftree.Faults) //nolint:errorlint // the type itself is promised
	if !ok || len(fs) == 0 || len(fs) > conftree.MaxFaults+1 {
		t.Fatalf("%T with %d faults", err, len(fs))
	}
	for i, f := range fs {
		if f.Message == "" || f.Line < 0 || (f.Line == 0) != (f.Column == 0) || f.File == "" && i < conftree.MaxFaults {
			t.Errorf("%+v", f)
		}
		line := f.Error()
		if len(line) > 2000 || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not one short printable line: %q", line)
		}
	}
}
