package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestInspectFaults(t *testing.T) {
	state := t.TempDir()
	for args, want := range map[string]string{
		"inspect -o xml":                 `--output "xml" is not known; give wide, json, yaml`,
		"inspect rule":                   `masq-cni inspect has no command "rule"; did you mean rules? see masq-cni inspect --help`,
		"inspect pod":                    "masq-cni inspect pod needs an argument, a pod as NAMESPACE/NAME or NAME, or the beginning",
		"inspect pod shop/web":           `no attachment belongs to pod or container "shop/web"; give NAMESPACE/NAME, or the beginning of a container's ID, as masq-cni inspect pods -o wide shows them`,
		"inspect flows --proto tpc":      `--proto "tpc" is not known; give one of tcp, `,
		"inspect flows --nat x":          `--nat "x" is not known; give one of snat, dnat, none`,
		"inspect flows --state x":        `--state "x" is not known; give one of none, syn_sent`,
		"inspect flows --src 1.2.3":      `--src "1.2.3" is not known; give an address such as`,
		"inspect flows --dst 1.2.3.4/33": `--dst "1.2.3.4/33" is not known; give an address such as`,
		"inspect flows --sport 0":        `--sport "0" is not known; give a port from 1 to 65535`,
		"inspect flows --dport 9-8":      `--dport "9-8" is not known; give a port from 1 to 65535`,
		"inspect flows --limit -1":       "--limit -1 is below 0",
		"inspect flows --sort x":         `--sort "x" is not known; give one of pod, proto, source`,
		"inspect flows --pod none":       `no attachment belongs to pod or container "none"`,
		"inspect --netns no-such-name":   `--netns "no-such-name": there is no`,
	} {
		code, out, diag := command(t, append(strings.Fields(args), "--state-dir", state)...)
		exit := 1
		if rest := strings.TrimPrefix(args, "inspect "); strings.HasPrefix(rest, "-") || rest == "rule" {
			exit = 2 // for inspect itself, 1 means that there are problems
		}
		if code != exit || out != "" || !strings.Contains(diag, want) {
			t.Errorf("%s: %d\n%s%s", args, code, out, diag)
		}
	}
	// All faults are reported at once.
	if _, _, diag := command(t, "inspect", "flows", "--nat", "x", "--sport", "x\x1b[2J", "--state-dir", state); strings.Count(diag, "is not known") != 2 || strings.Contains(diag, "\x1b") {
		t.Errorf("%q", diag)
	}
}

// TestInspectEmpty checks that every command succeeds in an empty namespace.
func TestInspectEmpty(t *testing.T) {
	state := t.TempDir()
	for _, words := range []string{"", "pods", "flows", "helpers", "rules", "drift"} {
		for _, format := range []string{"", output.Wide, "json", "yaml"} {
			args := append([]string{"inspect", "--state-dir", state}, strings.Fields(words)...)
			if format != "" {
				args = append(args, "-o", format)
			}
			if code, out, diag := command(t, args...); code != 0 || diag != "" || strings.Contains(out, "null") && format == "json" {
				t.Errorf("%v: %d\n%s%s", args, code, out, diag)
			}
		}
	}
	if files, err := os.ReadDir(state); err != nil || len(files) != 0 {
		t.Errorf("inspect has written %v, %v", files, err)
	}
}

// TestInspectUnreadRecord checks that an unreadable record is reported, and that the rest is
// shown.
func TestInspectUnreadRecord(t *testing.T) {
	state, a, _ := nodes(t)
	err := a.Do(func() error {
		records, err := store.Open(state)
		if err != nil {
			return err
		}
		return records.Put(store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: "bad", Interface: "eth0"}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	broken := false
	files, err := filepath.Glob(filepath.Join(state, "attachments", "*.json"))
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), `"bad"`) {
			broken = os.WriteFile(f, b[:20], 0o600) == nil
		}
	}
	if !broken {
		t.Fatal(files, err)
	}
	for _, words := range []string{"", "pods", "flows", "rules"} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", state, "--netns", a.Name()}, strings.Fields(words)...)...)
		if words == "" {
			diag = out // the summary reports it as a problem
		}
		if code != 1 || out == "" || !strings.Contains(strings.Join(strings.Fields(diag), " "), "not a record") {
			t.Errorf("inspect %s: %d\n%s%s", words, code, out, diag)
		}
	}
}

func TestDriftFaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "attachments"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"--state-dir " + dir: "list the records",
		"--netns nosuch":     "--netns",
		"--badflag":          "badflag",
		"word":               "word",
	} {
		code, _, diag := command(t, append([]string{"inspect", "drift"}, strings.Fields(words)...)...)
		if code != 2 || !strings.Contains(diag, want) {
			t.Errorf("%s: %d\n%s", words, code, diag)
		}
	}
}

// TestInspectStateDirMissing checks that a missing state directory is reported: the first ADD
// makes it, and its name may be mistyped.
func TestInspectStateDirMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	for words, exit := range map[string]int{"": 0, "pods": 0, "flows": 0, "rules": 0, "drift": 0, "ports --measure 0": 0, "pod x": 1} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", dir}, strings.Fields(words)...)...)
		reported := diag
		if words == "" {
			reported = strings.Join(strings.Fields(out), " ") // notes are wrapped
		}
		if code != exit || !strings.Contains(reported, dir) || strings.Count(reported, "does not exist") != 1 {
			t.Errorf("inspect %s: %d\n%s%s", words, code, out, diag)
		}
	}
}

func TestWatchFaults(t *testing.T) {
	t.Setenv("TERM", "dumb")
	state := t.TempDir()
	for args, want := range map[string][]string{
		"pods --watch": {
			"the standard input is no terminal; run it on a terminal",
			"the standard output is no terminal", `TERM is "dumb", which cannot move its cursor`,
		},
		"flows --watch -o json --interval 1ms": {`--output "json" for a program; leave one of them out`, "--interval 1ms is below 100ms"},
		"flows --watch --sort packets":         {"--watch cannot sort by packets, which has no column; give -o wide too"},
		"flows --watch --nat x":                {`--nat "x" is not known`},
		"--watch":                              {"the standard output is no terminal"},
		"pod a --watch":                        {"the standard output is no terminal"},
		"ports --watch":                        {"the standard output is no terminal"},
		"helpers --watch":                      {"the standard output is no terminal"},
		"rules --watch -o yaml":                {`--output "yaml" for a program`},
		"drift --watch":                        {"the standard output is no terminal"},
	} {
		code, out, diag := command(t, append([]string{"inspect", "--state-dir", state}, strings.Fields(args)...)...)
		for _, s := range want {
			want := 1
			if strings.HasPrefix(args, "drift") || args == "--watch" {
				want = 2
			}
			if code != want || out != "" || !strings.Contains(diag, s) {
				t.Errorf("%s: %d without %q\n%s%s", args, code, s, out, diag)
			}
		}
	}
}
