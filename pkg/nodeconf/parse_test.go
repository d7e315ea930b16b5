package nodeconf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

func prefixesOf(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrsOf(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// load reads a valid file.
func load(t *testing.T, text string) Node {
	t.Helper()
	n, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return n
}

// wantFaults asserts all faults, one a line.
func wantFaults(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no fault, want\n%s", want)
	}
	if _, ok := err.(conftree.Faults); !ok { //nolint:errorlint // the type itself is promised
		t.Fatalf("%T is not Faults", err)
	}
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

type faulty struct{ name, text, want string }

func checkFaults(t *testing.T, tests []faulty) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Helper()
			_, err := Parse("f", []byte(tt.text))
			wantFaults(t, err, tt.want)
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	checkFaults(t, []faulty{{"all", `masqLinkLocal: maybe
nonMasqueradeCIDRs:
  - 10.0.0.1/8
  - 10.0.0.0
resyncInterval: 60
toPort: 1-2
masqueradeCIDRs: [fd00::/8, fd00::/8]
`, `f:1:16: masqLinkLocal: "maybe" is a string; give true or false, or remove the key
f:3:5: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
f:4:5: nonMasqueradeCIDRs: "10.0.0.0" is an address, not a prefix; write "10.0.0.0/32"
f:5:17: resyncInterval: 60 is a number; write "60s" if these are seconds
f:6:1: "toPort" is an unknown key; did you mean "toPorts"? If not, remove it
f:7:29: masqueradeCIDRs: "fd00::/8" is given twice, first on line 7, column 19; keep one of them`}})
}

// The same in JSON, with the same places.
func TestJSONPlaces(t *testing.T) {
	checkFaults(t, []faulty{
		{"all", "{\n\t\"nonMasqueradeCIDRs\": [ \"10.0.0.0/8\",\n\t\t\"10.0.0.1/8\" , 5 ],\n  \"ü\": {\"a\": [1, true, null]}, \"toPorts\": 5\r\n}", `f:3:3: nonMasqueradeCIDRs: "10.0.0.1/8" has bits beyond its length; write "10.0.0.0/8"
f:3:18: nonMasqueradeCIDRs: 5 is a number; give a list of prefixes such as ["10.0.0.0/8"]
f:4:3: "ü" is an unknown key; remove it
f:4:43: toPorts: 5 is a number; give FIRST-LAST within 1024-65535, several separated by commas`},
		{"escapes", `{"masq\u004cinkLocal": "\ud83d\ude00\u001b", "helpers": {"ftp": {}, "ftp": []}}`, `f:1:24: masqLinkLocal: "😀\x1b" is a string; give true or false, or remove the key
f:1:65: helpers.ftp: "{}" is an object; give a list of ports such as [21]
f:1:69: helpers.ftp is given twice, first on line 1, column 58; keep one of them`},
	})
}

func TestKeys(t *testing.T) {
	checkFaults(t, []faulty{
		{"unknown", "masquerade: true", `f:1:1: "masquerade" is an unknown key; remove it`},
		{"near", "snatAdress: x", `f:1:1: "snatAdress" is an unknown key; did you mean "snatAddresses"? If not, remove it`},
		{
			"another product's", "NonMasqueradeSrcCIDRs: [172.16.0.2/32]\nsnatTarget: 192.0.2.7\nforceMasqueradeCIDRs: []\n",
			`f:1:1: "NonMasqueradeSrcCIDRs" is an unknown key; it is a key of Tencent's ip-masq-agent; remove it, and give pods that are to keep their address the annotation masq-cni.dev/egress: direct
f:2:1: "snatTarget" is an unknown key; give the address in the list "snatAddresses"
f:3:1: "forceMasqueradeCIDRs" is an unknown key; write "masqueradeCIDRs"`,
		},
		{
			"data key", "config: |\n  nonMasqueradeCIDRs: []\n",
			`f:1:1: "config" is an unknown key; give the text below data.config of the ConfigMap, without this key and without its indentation`,
		},
		{
			"data key in one line", `{"config": "{\"NonMasqueradeCIDRs\": []}"}`,
			`f:1:2: "config" is an unknown key; give the text below data.config of the ConfigMap, without this key and without its indentation`,
		},
		{
			"data key of another name", "ip-masq-agent: |\n  nonMasqueradeCIDRs: []\n  masqLinkLocal: true\n",
			`f:1:1: "ip-masq-agent" is an unknown key; give the text below data.ip-masq-agent of the ConfigMap, without this key and without its indentation`,
		},
		{"our case", "DropInvalid: true", `f:1:1: "DropInvalid" is an unknown key; did you mean "dropInvalid"? If not, remove it`},
		{"number", "5: x", `f:1:1: "5" is an unknown key; remove it`},
		{"list", "? [a, b]\n: c", `f:1:3: "[\"a\",\"b\"]" is a list; give a name as the key`},
		{"lists", "? [a]\n: c\n? [a]\n: c", `f:1:3: "[\"a\"]" is a list; give a name as the key
f:3:3: "[\"a\"]" is a list; give a name as the key`},
		{"merge", "<<: {toPorts: x}", `f:1:1: "<<" is an unknown key; remove it`},
		{"escape", `"\e[31m\n\u202e": null`, `f:1:1: "\x1b[31m\n\u202e" is an unknown key; remove it`},
		{"twice", "masqLinkLocal: true\nmasqLinkLocal: false", "f:2:1: masqLinkLocal is given twice, first on line 1, column 1; keep one of them"},
		{"twice in other case", "masqLinkLocal: true\nMasqLinklocal: false", "f:2:1: masqLinkLocal is given twice, first on line 1, column 1; keep one of them"},
		{"twice unknown", "x: 1\nx: 2", "f:1:1: \"x\" is an unknown key; remove it\nf:2:1: \"x\" is an unknown key; remove it\nf:2:1: \"x\" is given twice, first on line 1, column 1; keep one of them"},
		{
			"manifest", "apiVersion: v1\nkind: ConfigMap\n",
			`f:1:1: "apiVersion" is an unknown key; give the text below data of the ConfigMap, not the manifest
f:2:1: "kind" is an unknown key; give the text below data of the ConfigMap, not the manifest`,
		},
		{"top list", "- a\n", `f:1:1: "[\"a\"]" is a list; give keys and values, such as nonMasqueradeCIDRs: [10.0.0.0/8]`},
		{"top text", "10.0.0.0/8", `f:1:1: "10.0.0.0/8" is a string; give keys and values, such as nonMasqueradeCIDRs: [10.0.0.0/8]`},
	})
}

func TestFaultsAreBounded(t *testing.T) {
	_, err := Parse("f", []byte(strings.Repeat("x: 1\n", 1000)))
	fs, ok := err.(conftree.Faults) //nolint:errorlint // the type itself is promised
	if !ok || len(fs) != 101 || fs[100].Error() != "1899 more faults are not listed" {
		t.Errorf("%d faults, the last %v", len(fs), fs[len(fs)-1])
	}
	_, err = Parse("f", []byte(`{"toPorts": {"x": [`+strings.Repeat(`"xxxxxxxxxxxxxxx",`, 50000)+`1]}}`))
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("a message of %d bytes", len(err.Error()))
	}
}

func TestEmptyFile(t *testing.T) {
	want := Default()
	for _, text := range []string{"", "\n", "# no keys\n", "---\n", "null", "~\n", "{}", " {\n}\n", "---\n---\n", "\ufeff", "\ufeff{}", "...\n"} {
		if got := load(t, text); !equal(got, want) || !got.Assumed {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func equal(a, b Node) bool { return a.String() == b.String() && a.Policy.Equal(b.Policy) }
