package cniconf

import (
	"errors"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestUndecodable(t *testing.T) {
	for _, tt := range []struct{ name, stdin, want string }{
		{"nothing", "", `stdin: "" is not valid JSON: unexpected end of JSON input; give one JSON object`},
		{"text", "masq", `stdin: "masq" is not valid JSON: invalid character 'm' looking for beginning of value; give one JSON object`},
		{"list", "[1]", `stdin: "[1]" is not an object; give one JSON object`},
		{"null", " null\n", `stdin: null is not an object; give one JSON object`},
		{"cut", `{"mtu": 1`, `stdin: "{\"mtu\": 1" is not valid JSON: unexpected end of JSON input; give one JSON object`},
		{"trailing", `{} {}`, `stdin: "{} {}" is not valid JSON: invalid character '{' after top-level value; give one JSON object`},
		{"not UTF-8", "{\"name\": \"\xff\"}", `stdin: "{\"name\": \"\xff\"}" is not valid JSON: byte 0xff is not UTF-8; give one JSON object`},
		{"escape", "\x1b[31m", `stdin: "\x1b[31m" is not valid JSON: invalid character '\x1b' looking for beginning of value; give one JSON object`},
		{
			"deep", strings.Repeat("[", 20000),
			`stdin: "` + strings.Repeat("[", 120) + `..." is not valid JSON: invalid character '[' exceeded max depth; give one JSON object`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load([]byte(tt.stdin), "")
			wantError(t, err, types.ErrDecodingFailure, "the configuration cannot be decoded: 1 fault", tt.want)
			_, err = LoadForRemoval([]byte(tt.stdin))
			wantError(t, err, types.ErrDecodingFailure, "the configuration cannot be decoded: 1 fault", tt.want)
		})
	}
}

func TestKeys(t *testing.T) {
	checkFaults(t, []faulty{
		{"unknown", `"masquerade": true`, `"masquerade" is an unknown key; remove it`},
		{"another product's", `"snatTarget": "192.0.2.7"`, `"snatTarget" is an unknown key; give the address in the list "snatAddresses"`},
		{"near", `"snatAdress": "x"`, `"snatAdress" is an unknown key; did you mean "snatAddresses"? If not, remove it`},
		{"case", `"MTU": 1500`, `"MTU" is an unknown key; did you mean "mtu"? If not, remove it`},
		{"swapped", `"iapm": {}`, `"iapm" is an unknown key; did you mean "ipam"? If not, remove it`},
		{"escape", `"\u001b[31m\n\u202e": null`, `"\x1b[31m\n\u202e" is an unknown key; remove it`},
		{"two", `"zz": 1, "yy": [1,  2]`, "\"zz\" is an unknown key; remove it\n\"yy\" is an unknown key; remove it"},
		{"twice", `"mtu": 1400, "mtu": 1500`, `mtu is given twice; keep one of them`},
		{"twice escaped", `"mtu": 1400, "m\u0074u": 1500`, `mtu is given twice; keep one of them`},
		{
			"thrice", `"mtu": 1400, "mtu": 1500, "mtu": 1400`,
			"mtu is given twice; keep one of them\nmtu is given twice; keep one of them",
		},
		{"twice of CNI", `"cni.dev/\u001b": 1, "cni.dev/\u001b": 2`, `"cni.dev/\x1b" is given twice; keep one of them`},
		{
			"twice unknown", `"zz": 1, "zz": 2`,
			"\"zz\" is an unknown key; remove it\n\"zz\" is an unknown key; remove it\n\"zz\" is given twice; keep one of them",
		},
		{"long", `"x` + strings.Repeat("y", 1<<20) + `": 1`, `"x` + strings.Repeat("y", 119) + `..." is an unknown key; remove it`},
		{"type", `"type": 5`, "type is given twice; keep one of them\ntype: 5 is a number; give the name of the plugin, \"masq\""},
	})
}

// A fault has the line and the column of its value, or of the key if the key is at fault.
// Columns count characters. A fault without a place comes last.
func TestPlaces(t *testing.T) {
	text := "{\n\t\"cniVersion\": \"1.1.0\", \"ü\": 1,\n\"mtu\" : 1,\r\n  \"helpers\": {\"ftp\": [0],\n   \"ftp\": [21]},\n\"prevResult\": [], \"mtu\": 2}"
	_, err := Load([]byte(text), "x")
	e, ok := errors.AsType[*types.Error](err)
	if !ok {
		t.Fatal(err)
	}
	want := `line 2, column 25: "ü" is an unknown key; remove it
line 4, column 23: helpers.ftp: 0 is not a port; give ports within 1-65535
line 5, column 4: helpers.ftp is given twice, first on line 4, column 15; keep one of them
line 6, column 15: prevResult: "[]" is a list; correct the plugin that gave this result
line 6, column 19: mtu is given twice, first on line 3, column 1; keep one of them
line 6, column 26: mtu: 2 is below 68, the minimum of IPv4; give 0 (the MTU of the uplink) or 68-65535
name is missing; give letters, digits, "_", "." and "-", the first a letter or digit
CNI_ARGS: "x" is not a pair; give KEY=VALUE, separated by semicolons`
	if e.Details != want {
		t.Errorf("got\n%s\nwant\n%s", e.Details, want)
	}
	for text, want := range map[string]string{
		"{\n\n  \"mtu\": 1,}":    `line 3, column 12: stdin: "{\n\n  \"mtu\": 1,}" is not valid JSON: invalid character '}' looking for beginning of object key string; give one JSON object`,
		"{\n\"name\": \"\xff\"}": `line 2, column 10: stdin: "{\n\"name\": \"\xff\"}" is not valid JSON: byte 0xff is not UTF-8; give one JSON object`,
		"\n [1]":                 `line 2, column 2: stdin: "[1]" is not an object; give one JSON object`,
	} {
		if _, err := Load([]byte(text), ""); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTypes(t *testing.T) {
	const truth = "give true or false, or remove the key"
	for _, key := range []string{"ipMasq", "masqLinkLocal", "masqLinkLocalIPv6", "randomFully", "spoofCheck", "dropInvalid", "acceptOtherLinks"} {
		checkFaults(t, []faulty{
			{key + " null", `"` + key + `": null`, key + ": null is not allowed here; " + truth},
			{key + " text", `"` + key + `": "true"`, key + `: "true" is a string; ` + truth},
			{key + " number", `"` + key + `": 1`, key + `: 1 is a number; ` + truth},
			{key + " list", `"` + key + `": [true]`, key + `: "[true]" is a list; ` + truth},
			{key + " object", `"` + key + `": {"a": "\u001b"}`, key + `: "{\"a\":\"\\x1b\"}" is an object; ` + truth},
		})
	}
}

// Keys of CNI with null, and keys that masq does not read, are no faults.
func TestOthersKeys(t *testing.T) {
	c := load(t, `"args": 5, "dns": null, "ipam": null, "prevResult": null, "runtimeConfig": null, "capabilities": [],
		"disableCheck": "x", "disableGC": null, "loadOnlyInlinedPlugins": 1, "cni.dev/other": 7`)
	if c.IPAMType != "" || c.PrevResult != nil || c.ValidAttachments != nil {
		t.Errorf("got %+v", c)
	}
}
