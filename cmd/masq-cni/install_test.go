package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// installFault runs install with invalid flags, and returns its message.
func installFault(t *testing.T, args ...string) (out string) {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "masq")
	if err := os.WriteFile(plugin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	all := append([]string{"install", "--ready-url", "", "--bin-dir", t.TempDir(), "--conf-dir", t.TempDir(), "--plugin", plugin}, args...)
	if code := run(all, io.Discard, &b); code != 1 {
		t.Errorf("%v: exit code %d", args, code)
	}
	return b.String()
}

func TestInstallFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--mode", "chained"}, []string{`--mode "chained" is not known; give chain or network`}},
		{[]string{"--mode", "network"}, []string{"give --pod-cidr, or --node-name"}},
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.0/24", "--node-name", "n"}, []string{"give only one of them"}},
		{[]string{"--pod-cidr", "10.0.0.0/24"}, []string{"are for --mode network"}},
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.1/24,x"}, []string{`--pod-cidr: "10.0.0.1/24"`, `--pod-cidr: "x"`}},
		{[]string{"--bin-dir", "", "--conf-dir", ""}, []string{"--bin-dir is empty", "--conf-dir is empty"}},
		{[]string{"--ready-url", "localhost:9468"}, []string{`--ready-url "localhost:9468" is neither a URL`}},
		{[]string{"--plugin", "/nowhere"}, []string{`--plugin "/nowhere" is not a file`}},
		{[]string{"--conf-name", "../a.conflist"}, []string{`--conf-name "../a.conflist"`}},
		{[]string{"--conf-name", "10-masq.conf"}, []string{`--conf-name "10-masq.conf"`}},
		{[]string{"--plugin-config", `{"toPorts": 5, "mtu": 7}`}, []string{"--plugin-config:", "toPorts: ", "mtu: 7"}},
		{[]string{"--plugin-config", `{"ipam": {}}`}, []string{`--plugin-config: "ipam"`}},
		{[]string{"--plugin-config", `{`}, []string{"--plugin-config: not a JSON object"}},
		{[]string{"--plugin-config", `/nowhere`}, []string{"--plugin-config: open /nowhere"}},
		{[]string{"--cni-version", "9.0.0"}, []string{"cniVersion"}},
		{[]string{"--netns", "x"}, []string{"--netns"}},
		// The file is not a plugin.
		{nil, []string{"is not the plugin of masq-cni"}},
	} {
		out := installFault(t, c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: got\n%s\nwant %s", c.args, out, want)
			}
		}
	}
}
