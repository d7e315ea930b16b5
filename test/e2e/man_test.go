package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestManPages renders the manual pages of both programs and checks that they contain the
// text, flags and commands of --help.
func TestManPages(t *testing.T) {
	flag := regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)`)
	sub := regexp.MustCompile(`(?m)^  (\w+) +[A-Z]`)
	seen := map[string]bool{}
	dir := t.TempDir()
	var examine func(words ...string)
	examine = func(words ...string) {
		name := strings.Join(words, "-")
		seen[name+".8"] = true
		help := run(t, words[0], append(words[1:], "--help")...)
		got := rendered(t, filepath.Join(dir, name+".8"))
		long, rest, _ := strings.Cut(help, "\nUsage:\n")
		for p := range strings.SplitSeq(strings.TrimSpace(long), "\n\n") {
			if p = oneLine(p); !strings.Contains(got, p) {
				t.Errorf("%s(8) lacks %q:\n%s", name, p, got)
			}
		}
		flags := flag.FindAllStringSubmatch(rest, -1)
		for _, m := range flags {
			want := " " + m[2]
			if m[1] != "" {
				want = " " + m[1] + "," + want
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s(8) lacks %s:\n%s", name, want, got)
			}
		}
		if len(flags) == 0 {
			t.Errorf("%s has no flags:\n%s", name, help)
		}
		_, commands, _ := strings.Cut(rest, "Available Commands:\n")
		commands, _, _ = strings.Cut(commands, "\nFlags:")
		for _, m := range sub.FindAllStringSubmatch(commands, -1) {
			if slices.Contains([]string{"help", "completion"}, m[1]) {
				continue
			}
			if want := name + "-" + m[1] + "(8)"; strings.Count(got, want) != 2 { // listed, and under SEE ALSO
				t.Errorf("%s(8) does not name %s", name, want)
			}
			examine(append(slices.Clone(words), m[1])...)
		}
	}
	for _, program := range []string{"masq-cni", "masqd"} {
		run(t, program, "man", dir)
		examine(program)
	}
	for _, f := range assert.Must(os.ReadDir(dir))(t) {
		if !seen[f.Name()] {
			t.Errorf("%s is the page of no command", f.Name())
		}
	}
	if !seen["masq-cni-inspect-flows.8"] {
		t.Errorf("only these pages were checked: %v", seen)
	}
	// Generating again gives the same pages.
	again := t.TempDir()
	run(t, "masqd", "man", again)
	a, b := assert.Must(os.ReadFile(filepath.Join(dir, "masqd.8")))(t), assert.Must(os.ReadFile(filepath.Join(again, "masqd.8")))(t)
	if !bytes.Equal(a, b) || !bytes.Contains(a, []byte(`.TH "MASQD" 8 "" "masqd `)) {
		t.Errorf("%.100s\n%.100s", a, b)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(soon(t), built(program), args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "SOURCE_DATE_EPOCH=") })
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// rendered returns a page as one line of words. groff warns of every fault in the markup.
func rendered(t *testing.T, page string) string {
	t.Helper()
	c := exec.CommandContext(soon(t), "groff", "-man", "-Tascii", "-P-cbou", "-ww", "-rHY=0", page)
	var diag bytes.Buffer
	c.Stderr = &diag
	out, err := c.Output()
	if err != nil || diag.Len() > 0 {
		t.Fatal(fmt.Errorf("groff %s: %w\n%s", page, err, &diag))
	}
	return oneLine(string(out))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
