package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conftree"
)

func TestConfigCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"a": "masqLinkLocal: true\nresyncInterval: 60s\n", "b": "masqLinkLocal: false\nresyncInterval: 30s\n", "bad": "mssClamp: x\n",
	} {
		if err := os.WriteFile(filepath.Clean(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const warnings = `warning: a:2:17: resyncInterval: "60s" has no effect: "30s" at b:2:17 overrides it; keep one of them
warning: b:1:16: masqLinkLocal: false has no effect: true at a:1:16 overrides it; keep one of them
`
	for _, tt := range []struct {
		files, stdout, stderr string
		code                  int
	}{
		{"a", "masqLinkLocal       true\n", "", 0},
		{"a b", "masqLinkLocal       true\n", warnings, 0},
		{"a b bad", `bad:1:11: mssClamp: "x" is neither "pmtu" nor "off"`, "", 1},
	} {
		code, out, diag := command(t, append([]string{"config", "check"}, strings.Fields(tt.files)...)...)
		if code != tt.code || !strings.Contains(out, tt.stdout) || diag != tt.stderr {
			t.Errorf("%s: %d\n%s\n%s", tt.files, code, out, diag)
		}
	}
	for files, want := range map[string]int{"a": 0, "a b": 2} {
		code, out, diag := command(t, append([]string{"config", "check", "-o", "json", "--state-dir", "anywhere"}, strings.Fields(files)...)...)
		var got struct {
			MasqLinkLocal bool
			Warnings      conftree.Faults
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if code != 0 || diag != "" || !got.MasqLinkLocal || len(got.Warnings) != want {
			t.Errorf("%s: %d\n%s\n%s", files, code, out, diag)
		}
	}
}
