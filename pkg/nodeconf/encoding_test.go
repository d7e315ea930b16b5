package nodeconf

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUnreadable(t *testing.T) {
	checkFaults(t, []faulty{
		{"not UTF-8", "a: b\nü: \"\xff\"", "f:2:5: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "f:1:1: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"control", "a: \x1b[31m", "f:1:4: U+001B is a control character; remove it"},
		{"NUL", "a: b\x00", "f:1:5: U+0000 is a control character; remove it"},
		{"long", strings.Repeat("#", maxBytes+1), "f: the file is longer than 1048576 bytes; give a shorter file"},
	})
	load(t, strings.Repeat("#", maxBytes))
}

func TestNotJSON(t *testing.T) {
	const remedy = "; correct it, or write YAML, which does not begin with {"
	checkFaults(t, []faulty{
		// A test case of ip-masq-agent.
		{"star", "{*", "f:1:2: the file is not valid JSON: invalid character '*' looking for beginning of object key string" + remedy},
		{"flow YAML", "\n{nonMasqueradeCIDRs: [10.0.0.0/8]}", "f:2:2: the file is not valid JSON: invalid character 'n' looking for beginning of object key string" + remedy},
		{"cut", "{\n \"toPorts\": \"1", "f:2:14: the file is not valid JSON: unexpected end of JSON input" + remedy},
		{"more", "{}\n{}", "f:2:1: the file is not valid JSON: invalid character '{' after top-level value" + remedy},
		{"deep", `{"a":` + strings.Repeat("[", 20000), "f:1:10005: the file is not valid JSON: invalid character '[' exceeded max depth" + remedy},
	})
}

func TestNotYAML(t *testing.T) {
	checkFaults(t, []faulty{
		// A test case of ip-masq-agent.
		{"star", "*", "f:1:2: the file is not valid YAML: while scanning an alias: did not find expected alphabetic or numeric character; correct the syntax"},
		{"tab", "helpers:\n\tftp: []", "f:2:1: the file is not valid YAML: while scanning for the next token: found character that cannot start any token; indent with spaces, since YAML allows no tabs"},
		{"mapping", "a: b: c", "f:1:5: the file is not valid YAML: mapping values are not allowed in this context; correct the syntax"},
		{"open", "a: [\n", "f:2:1: the file is not valid YAML: while parsing a flow node: did not find expected node content; correct the syntax"},
		{"quote", "a: 'x", "f:1:6: the file is not valid YAML: while scanning a quoted scalar: found unexpected end of stream; correct the syntax"},
		{"surrogate", `a: "\ud83d"`, "f:1:7: the file is not valid YAML: while scanning a quoted scalar: found invalid Unicode character escape code; correct the syntax"},
		{"two documents", "toPorts: ''\n---\ntoPorts: ''\n", "f:3:1: a second YAML document begins here; keep one document, or put each into a separate file"},
		{"later fault", "toPorts: ''\n---\n[", "f:3:2: the file is not valid YAML: while parsing a flow node: did not find expected node content; correct the syntax"},
		{"alias", "snatAddresses: &a []\nsourceCIDRs: *a\n", `f:2:14: "*a" is an alias; write out the value that it stands for`},
		{"unknown alias", "a: *x", "f:1:4: the file is not valid YAML: unknown anchor 'x' referenced; correct the syntax"},
		{"alias to itself", "masqueradeCIDRs: &a [*a]", `f:1:22: "*a" is an alias; write out the value that it stands for`},
		{"tag", "masqLinkLocal: !!bool yes\nhelpers: !!omap {}\nx: !y z", `f:1:16: "!!bool" is a tag; remove it
f:2:10: "!!omap" is a tag; remove it
f:3:1: "x" is an unknown key; remove it
f:3:4: "!y" is a tag; remove it`},
	})
	load(t, "toPorts: &unused 2000-3000\nmssClamp: !!str off\n") // both are accepted
}

// Files whose cost could exceed their length. Each takes milliseconds.
func TestBombs(t *testing.T) {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		laughs += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 8) + "]\n"
	}
	fill := func(s string) string { return strings.Repeat(s, maxBytes/8/len(s)) }
	for name, text := range map[string]string{
		"laughs":   laughs,
		"brackets": fill("["), "dashes": fill("- "), "keys": fill("? "), "anchors": fill("- &a\n"), "colons": fill(":"),
		"questions": fill("?\n"), "quotes": fill("''\n"), "entries": "helpers: [" + fill("a,") + "]",
		"objects": `{"a":[` + fill("{},") + "{}]}", "line": `{"` + fill("ü") + `":1}`, "flow": `{"a": ` + fill(`{"a": `),
		"blank": "a:" + fill("\n"), "folded": "a: >\n" + fill(" x\n"), "commented": "a:\n" + fill("- #\n"),
	} {
		begin := cpuTime(t)
		_, err := Parse("f", []byte(text))
		if took := cpuTime(t) - begin; took > 10*time.Second {
			t.Errorf("%s: took %v of a processor", name, took)
		}
		if err == nil || len(err.Error()) > 40000 {
			t.Errorf("%s: %.100v", name, err)
		}
	}
}

// cpuTime returns the processor time of the process. Unlike the time of the clock, it does not
// depend on other programs.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
