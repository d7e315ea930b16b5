package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrepare(t *testing.T) {
	for _, c := range []struct {
		args, stdout, stderr string
		code                 int
	}{
		{"--sysctl net.ipv4.ip_forward=1", "set: net.ipv4.ip_forward=1\n", "", 0},
		{"--sysctl net.ipv4.ip_forward=0", "", "", 0}, // the value in a new namespace
		{"--sysctl net.ipv4.ip_local_port_range=1_1", "", `net.ipv4.ip_local_port_range: the kernel refuses "1_1": `, 1},
		{"--sysctl net.ipv4.ip_forwards=1 --sysctl net.ipv4.ip_forward=1", "set: net.ipv4.ip_forward=1\n", "net.ipv4.ip_forwards: the kernel has no such sysctl", 1},
		{"--sysctl net.ipv4.ip_forward", "", `"net.ipv4.ip_forward" is not NAME=VALUE, such as net.ipv4.ip_forward=1`, 1},
		{"--sysctl ../sys/net.ipv4.ip_forward=1", "", "is not NAME=VALUE", 1},
		{"--module nf_nat_none", "", "warning: module nf_nat_none is not loaded; unless it is built into the kernel, run `modprobe nf_nat_none` on the node\n", 0},
		{"--module nf_conntrack_none", "", `"nf_conntrack_none" is longer than`, 1},
		{"", "", "nothing to do", 1},
	} {
		code, out, diag := command(t, append([]string{"prepare"}, strings.Fields(c.args)...)...)
		if code != c.code || out != c.stdout || !strings.Contains(diag, c.stderr) || c.stderr == "" && diag != "" {
			t.Errorf("%s: %d\n%s\n%s", c.args, code, out, diag)
		}
	}
}

// TestPrepareWritesOnlyWhatDiffers checks that a sysctl with the value is not written.
func TestPrepareWritesOnlyWhatDiffers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "net/a")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ value, want string }{{"1", ""}, {"2", "set: net.a=2\n"}} {
		if code, out, diag := command(t, "prepare", "--sysctl-dir", dir, "--sysctl", "net.a="+c.value); code != 0 || out != c.want {
			t.Errorf("%s: %d\n%s\n%s", c.value, code, out, diag)
		}
	}
}
