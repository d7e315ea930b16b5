package cniconf

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestUndecodable(t *testing.T) {
	for _, tt := range []struct{ name, stdin, want string }{
		{"nothing", "", `stdin: "": is not JSON: unexpected end of JSON input; give one JSON object`},
		{"text", "masq", `stdin: "masq": is not JSON: invalid character 'm' looking for beginning of value; give one JSON object`},
		{"list", "[1]", `stdin: "[1]": is a list; give one JSON object`},
		{"null", " null\n", `stdin: null: is null; give one JSON object`},
		{"cut", `{"mtu": 1`, `stdin: "{\"mtu\": 1": is not JSON: unexpected end of JSON input; give one JSON object`},
		{"trailing", `{} {}`, `stdin: "{} {}": is not JSON: invalid character '{' after top-level value; give one JSON object`},
		{"not UTF-8", "{\"name\": \"\xff\"}", `stdin: "{\"name\": \"\xff\"}": is not UTF-8; give one JSON object`},
		{"escape", "\x1b[31m", `stdin: "\x1b[31m": is not JSON: invalid character '\x1b' looking for beginning of value; give one JSON object`},
		{
			"deep", strings.Repeat("[", 20000),
			`stdin: "` + strings.Repeat("[", 120) + `...": is not JSON: invalid character '[' exceeded max depth; give one JSON object`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load([]byte(tt.stdin), "")
			wantError(t, err, types.ErrDecodingFailure, "configuration cannot be decoded: 1 fault", tt.want)
			_, err = LoadForRemoval([]byte(tt.stdin))
			wantError(t, err, types.ErrDecodingFailure, "configuration cannot be decoded: 1 fault", tt.want)
		})
	}
}

func TestKeys(t *testing.T) {
	checkFaults(t, []faulty{
		{"unknown", `"masquerade": true`, `"masquerade": true: unknown key; remove it`},
		{"another product's", `"snatTarget": "192.0.2.7"`, `"snatTarget": "192.0.2.7": unknown key; give the address in the list "snatAddresses"`},
		{"near", `"snatAdress": "x"`, `"snatAdress": "x": unknown key; did you mean "snatAddresses"? If not, remove it`},
		{"case", `"MTU": 1500`, `"MTU": 1500: unknown key; did you mean "mtu"? If not, remove it`},
		{"swapped", `"iapm": {}`, `"iapm": "{}": unknown key; did you mean "ipam"? If not, remove it`},
		{"escape", `"\u001b[31m\n\u202e": null`, `"\x1b[31m\n\u202e": null: unknown key; remove it`},
		{"sorted", `"zz": 1, "yy": [1,  2]`, "\"yy\": \"[1,2]\": unknown key; remove it\n\"zz\": 1: unknown key; remove it"},
		{"twice", `"mtu": 1400, "mtu": 1500`, `mtu: 1500: given twice, before as 1400; keep one`},
		{"twice escaped", `"mtu": 1400, "m\u0074u": 1500`, `mtu: 1500: given twice, before as 1400; keep one`},
		{
			"thrice", `"mtu": 1400, "mtu": 1500, "mtu": 1400`,
			"mtu: 1500: given twice, before as 1400; keep one\nmtu: 1400: given twice, before as 1500; keep one",
		},
		{"twice of CNI", `"cni.dev/\u001b": 1, "cni.dev/\u001b": 2`, `"cni.dev/\x1b": 2: given twice, before as 1; keep one`},
		{
			"twice unknown", `"zz": 1, "zz": 2`,
			"\"zz\": 2: unknown key; remove it\n\"zz\": 2: given twice, before as 1; keep one",
		},
		{"long", `"x` + strings.Repeat("y", 1<<20) + `": 1`, `"x` + strings.Repeat("y", 119) + `...": 1: unknown key; remove it`},
		{"type", `"type": 5`, "type: 5: given twice, before as \"masq\"; keep one\ntype: 5: is a number; give the name of the plugin, \"masq\""},
	})
}

func TestTypes(t *testing.T) {
	const truth = "give true or false, or remove the key"
	for _, key := range []string{"ipMasq", "masqLinkLocal", "masqLinkLocalIPv6", "randomFully", "spoofCheck", "dropInvalid", "acceptOtherLinks"} {
		checkFaults(t, []faulty{
			{key + " null", `"` + key + `": null`, key + ": null: is null; " + truth},
			{key + " text", `"` + key + `": "true"`, key + `: "true": is a string; ` + truth},
			{key + " number", `"` + key + `": 1`, key + `: 1: is a number; ` + truth},
			{key + " list", `"` + key + `": [true]`, key + `: "[true]": is a list; ` + truth},
			{key + " object", `"` + key + `": {"a": "\u001b"}`, key + `: "{\"a\":\"\\u001b\"}": is an object; ` + truth},
		})
	}
}

// Keys of CNI that are null or of no concern are no fault.
func TestOthersKeys(t *testing.T) {
	c := load(t, `"args": 5, "dns": null, "ipam": null, "prevResult": null, "runtimeConfig": null, "capabilities": [],
		"disableCheck": "x", "disableGC": null, "loadOnlyInlinedPlugins": 1, "cni.dev/other": 7`)
	if c.IPAMType != "" || c.PrevResult != nil || c.ValidAttachments != nil {
		t.Errorf("got %+v", c)
	}
}
