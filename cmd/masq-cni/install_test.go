package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prepared is what comes of flags, with a plugin that is there.
func prepared(t *testing.T, args ...string) (out string) {
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
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.0/24", "--node-name", "n"}, []string{"give one of them"}},
		{[]string{"--pod-cidr", "10.0.0.0/24"}, []string{"are for --mode network"}},
		{[]string{"--mode", "network", "--pod-cidr", "10.0.0.1/24,x"}, []string{`--pod-cidr: "10.0.0.1/24"`, `--pod-cidr: "x"`}},
		{[]string{"--bin-dir", "", "--conf-dir", ""}, []string{"--bin-dir is empty", "--conf-dir is empty"}},
		{[]string{"--ready-url", "localhost:9468"}, []string{`--ready-url "localhost:9468" is not a URL`}},
		{[]string{"--plugin", "/nowhere"}, []string{`--plugin "/nowhere" is not there`}},
		{[]string{"--conf-name", "../a.conflist"}, []string{`--conf-name "../a.conflist"`}},
		{[]string{"--conf-name", "10-masq.conf"}, []string{`--conf-name "10-masq.conf"`}},
		{[]string{"--plugin-config", `{"toPorts": 5, "mtu": 7}`}, []string{"--plugin-config:", "toPorts: ", "mtu: 7"}},
		{[]string{"--plugin-config", `{"ipam": {}}`}, []string{`--plugin-config: "ipam"`}},
		{[]string{"--plugin-config", `{`}, []string{"--plugin-config: is not a JSON object"}},
		{[]string{"--plugin-config", `/nowhere`}, []string{"--plugin-config: open /nowhere"}},
		{[]string{"--cni-version", "9.0.0"}, []string{"cniVersion"}},
		{[]string{"--netns", "x"}, []string{"--netns"}},
		// What is there is no plugin, and there is no network.
		{nil, []string{"is not the plugin of masq-cni"}},
	} {
		out := prepared(t, c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: it says\n%s\nnot %s", c.args, out, want)
			}
		}
	}
}
