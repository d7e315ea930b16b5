package main

import (
	"strings"
	"testing"
)

func TestRoot(t *testing.T) {
	for _, tt := range []struct {
		args, out, diag string
		code            int
	}{
		{"", "\nAvailable Commands:\n", "", 0},
		{"version", "masq-cni version dev (unknown)\n", "", 0},
		{"--version", "masq-cni version dev (unknown)\n", "", 0},
		{"versionn", "", `masq-cni has no command "versionn"; did you mean version?`, 1},
		{"inspekt flows", "", `masq-cni has no command "inspekt"; did you mean inspect?`, 1},
		{"version now", "", `masq-cni version takes no arguments, but got "now"`, 1},
		{"config chekc", "", `masq-cni config has no command "chekc"; did you mean check?`, 1},
		{"config check", "", "masq-cni config check needs at least one argument, a file", 1},
	} {
		code, out, diag := command(t, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(diag, tt.diag) || tt.out == "" && out != "" {
			t.Errorf("%q: %d\n%s%s", tt.args, code, out, diag)
		}
	}
}
