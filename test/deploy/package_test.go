package deploy

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// hostRoot is the root directory of a host with a shell and an empty database of each
// package manager. Programs and package scripts run in it, in a separate network
// namespace.
type hostRoot struct {
	t   *testing.T
	dir string
}

func newHostRoot(t *testing.T) *hostRoot {
	t.Helper()
	h := &hostRoot{t, t.TempDir()}
	for _, dir := range []string{"bin", "proc", "run/systemd/system", "tmp", "usr/bin", "etc/cni/net.d", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/rpm"} {
		assert.NoError(t, os.MkdirAll(h.path(dir), 0o755))
	}
	for _, file := range []string{"status", "available"} {
		assert.NoError(t, os.WriteFile(h.path("var/lib/dpkg", file), nil, 0o644))
	}
	assert.NoError(t, os.WriteFile(h.path("bin/sh"), assert.Must(os.ReadFile("/bin/busybox"))(t), 0o755)) // Debian's busybox-static
	assert.NoError(t, os.WriteFile(h.path("usr/bin/systemctl"), []byte("#!/bin/sh\necho \"$*\" >>/tmp/systemctl\n"), 0o755))
	assert.NoError(t, os.WriteFile(h.path("etc/cni/net.d/10-pods.conflist"), []byte(pods), 0o644))
	// For systemd-analyze: files that every host with systemd has.
	assert.NoError(t, os.Symlink("sh", h.path("bin/kill")))
	assert.NoError(t, os.MkdirAll(h.path("usr/lib/systemd/system"), 0o755))
	for _, name := range []string{"basic", "network-online", "network-pre", "shutdown", "sysinit"} {
		assert.NoError(t, os.WriteFile(h.path("usr/lib/systemd/system", name+".target"), []byte("[Unit]\nDescription="+name+"\n"), 0o644))
	}
	return h
}

// pods is a network of another plugin.
const pods = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}}
  ]
}
`

func (h *hostRoot) path(name ...string) string {
	return filepath.Join(append([]string{h.dir}, name...)...)
}

// commands makes a page's commands act on the host: $0 is its root, $1 the command.
const commands = `set -eu
mount -t proc proc "$0/proc"
dpkg() { command dpkg --root="$0" --log=/dev/null "$@"; }
rpm() { command rpm --root="$0" --dbpath=/var/lib/rpm "$@"; }
in_host() { chroot "$0" /bin/sh -c '"$@"' sh "$@"; }
systemctl() { in_host systemctl "$@"; }
masq-cni() { in_host masq-cni "$@"; }
masqd() { in_host masqd "$@"; }
`

// run runs a command line in the directory with the release's files.
func (h *hostRoot) run(line string) string {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), "unshare", "--net", "--mount", "bash", "-c", commands+line, h.dir)
	c.Dir = os.Getenv("MASQ_DIST")
	out, err := c.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// section returns the commands of a section of docs/packages.md for this machine's
// architecture.
func (h *hostRoot) section(heading string) []string {
	h.t.Helper()
	_, rest, found := strings.Cut(string(read(h.t, "docs/packages.md")), "\n## "+heading+"\n")
	if !found {
		h.t.Fatalf("docs/packages.md has no section %s", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var lines []string
	if runtime.GOARCH == "arm64" {
		rest = strings.NewReplacer("amd64", "arm64", "x86_64", "aarch64").Replace(rest)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(rest, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	if len(lines) == 0 {
		h.t.Fatalf("docs/packages.md has no commands under %s", heading)
	}
	return lines
}

// asked returns the systemctl calls since the last call of asked.
func (h *hostRoot) asked() string {
	h.t.Helper()
	name := h.path("tmp/systemctl")
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	assert.NoError(h.t, os.Remove(name))
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), "; ")
}

// files returns the regular files of the host, without the package manager's own.
func (h *hostRoot) files() map[string]fs.FileMode {
	h.t.Helper()
	out := map[string]fs.FileMode{}
	assert.NoError(h.t, filepath.WalkDir(h.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		name = strings.TrimPrefix(name, h.dir)
		if !strings.HasPrefix(name, "/var/lib/dpkg/") && !strings.HasPrefix(name, "/var/lib/rpm/") {
			out[name] = info.Mode()
		}
		return err
	}))
	return out
}

// same reports an error if the files differ from before.
func (h *hostRoot) same(when string, before map[string]fs.FileMode) {
	h.t.Helper()
	if now := h.files(); !maps.Equal(now, before) {
		h.t.Errorf("%s: the files are\n%v\nwant\n%v", when, slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(before)))
	}
}

// installed checks the files of a package. plugins is the plugin's directory.
func (h *hostRoot) installed(plugins string) {
	h.t.Helper()
	files := h.files()
	for name, mode := range map[string]fs.FileMode{
		"/usr/bin/masqd": 0o755, "/usr/bin/masq-cni": 0o755, plugins + "/masq": 0o755,
		"/usr/lib/systemd/system/masqd.service": 0o644, "/etc/default/masqd": 0o644,
		"/usr/share/man/man8/masqd.8.gz": 0o644, "/usr/share/man/man8/masq-cni-inspect-flows.8.gz": 0o644,
		"/usr/share/bash-completion/completions/masq-cni": 0o644, "/usr/share/masq-cni/masq-agent.schema.json": 0o644,
		"/usr/share/doc/masq-cni/sbom.cdx.json": 0o644, "/usr/share/doc/masq-cni/CHANGELOG.md": 0o644,
	} {
		if files[name] != mode {
			h.t.Errorf("%s has mode %v, not %v", name, files[name], mode)
		}
	}
	want := " " + currentVersion(h.t) + " ("
	for _, line := range []string{"masqd --version", "masq-cni version", "in_host " + plugins + "/masq 2>&1"} {
		if out := h.run(line); !strings.Contains(out, want) {
			h.t.Errorf("%s: %s", line, out)
		}
	}
	unit := string(assert.Must(os.ReadFile(h.path("usr/lib/systemd/system/masqd.service")))(h.t))
	if ours := strings.Replace(string(read(h.t, "deploy/systemd/masqd.service")), "=/usr/local/bin/masqd", "=/usr/bin/masqd", 1); unit != ours {
		h.t.Errorf("the unit of the package is\n%s", unit)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+h.dir, "masqd.service").CombinedOutput(); err != nil {
		h.t.Errorf("systemd does not accept the unit: %v\n%s", err, out)
	}
}

// The .deb is installed, upgraded and removed as docs/packages.md says. Nothing remains.
func TestDeb(t *testing.T) {
	h := newHostRoot(t)
	before := h.files()
	commands := h.section("Debian and Ubuntu")
	expect := []struct{ command, asked string }{
		{"dpkg --install masq-cni_*_" + runtime.GOARCH + ".deb", "daemon-reload; try-restart masqd.service"},
		{"systemctl enable --now masqd", "enable --now masqd"},
		{"masq-cni install --ready-url '' --bin-dir /usr/lib/cni", ""},
		{"masq-cni uninstall --conf-dir /etc/cni/net.d", ""},
		{"dpkg --purge masq-cni", "disable --now masqd.service; daemon-reload; daemon-reload"},
	}
	for i, e := range expect {
		if i >= len(commands) || commands[i] != e.command {
			t.Fatalf("docs/packages.md: no test for command %d of %q", i+1, commands)
		}
		out := h.run(e.command)
		if asked := h.asked(); asked != e.asked {
			t.Errorf("%s asked systemd for %q, not %q", e.command, asked, e.asked)
		}
		conflist := string(assert.Must(os.ReadFile(h.path("etc/cni/net.d/10-pods.conflist")))(t))
		switch i {
		case 0:
			h.installed("/usr/lib/cni")
			h.upgraded()
		case 2:
			if !strings.Contains(conflist, `"masq"`) {
				t.Errorf("masq is not in the network: %s\n%s", out, conflist)
			}
		case 3:
			if conflist != pods {
				t.Errorf("masq is still in the network: %s\n%s", out, conflist)
			}
		}
	}
	h.same("after purge", before)
	if len(commands) != len(expect) {
		t.Errorf("docs/packages.md: no test for %q", commands[len(expect):])
	}
}

// upgraded installs the .deb again: a changed configuration is kept and masqd is not stopped.
// Removing the package without purge keeps the configuration, and warns if containers depend
// on the plugin.
func (h *hostRoot) upgraded() {
	t := h.t
	t.Helper()
	config := h.path("etc/default/masqd")
	assert.NoError(t, os.WriteFile(config, []byte("MASQD_ATTACHMENT_METRICS=7\n"), 0o644))
	h.run("dpkg --install masq-cni_*_" + runtime.GOARCH + ".deb")
	if asked := h.asked(); asked != "daemon-reload; daemon-reload; try-restart masqd.service" {
		t.Errorf("an upgrade called systemctl with %q", asked)
	}
	assert.NoError(t, os.MkdirAll(h.path("run/masq-cni/attachments"), 0o755))
	assert.NoError(t, os.WriteFile(h.path("run/masq-cni/attachments/pods.json"), nil, 0o600))
	if out := h.run("dpkg --remove masq-cni 2>&1"); !strings.Contains(out, "containers depend on the plugin masq") {
		t.Errorf("removing the package does not warn of containers: %s", out)
	}
	assert.NoError(t, os.RemoveAll(h.path("run/masq-cni")))
	h.run("dpkg --install masq-cni_*_" + runtime.GOARCH + ".deb")
	if text := string(assert.Must(os.ReadFile(config))(t)); text != "MASQD_ATTACHMENT_METRICS=7\n" {
		t.Errorf("the changed configuration is now %s", text)
	}
	h.asked()
}

// The .rpm is installed and removed as docs/packages.md says.
func TestRPM(t *testing.T) {
	h := newHostRoot(t)
	before := h.files()
	for _, line := range h.section("Fedora and its relatives") {
		h.run(line)
		asked, want := h.asked(), ""
		switch {
		case strings.HasPrefix(line, "rpm --install masq-cni-*."):
			want = "daemon-reload; try-restart masqd.service"
			h.installed("/usr/libexec/cni")
		case line == "systemctl enable --now masqd":
			want = "enable --now masqd"
		case line == "rpm --erase masq-cni":
			want = "disable --now masqd.service; daemon-reload"
		default:
			t.Errorf("docs/packages.md: no test for %s", line)
		}
		if asked != want {
			t.Errorf("%s asked systemd for %q, not %q", line, asked, want)
		}
	}
	h.same("after rpm --erase", before)
}

// The tarball is unpacked as docs/packages.md says.
func TestTarball(t *testing.T) {
	h := newHostRoot(t)
	dist := os.Getenv("MASQ_DIST")
	for _, line := range h.section("Tarball") { // in the host's root
		line = strings.NewReplacer("-xzf ", "-xzf "+dist+"/", " /usr/local/", " ./usr/local/", " /etc/", " ./etc/").Replace(line)
		h.run(fmt.Sprintf("cd %q; %s", h.dir, line))
	}
	if asked := h.asked(); asked != "enable --now masqd" {
		t.Errorf("systemctl was called with %q", asked)
	}
	for _, name := range []string{"masqd --version", "masq-cni version", "masq 2>&1"} {
		if out := h.run("in_host /usr/local/bin/" + name); !strings.Contains(out, " "+currentVersion(t)+" (") {
			t.Errorf("%s: %s", name, out)
		}
	}
	unit := string(assert.Must(os.ReadFile(h.path("etc/systemd/system/masqd.service")))(t))
	if unit != string(read(t, "deploy/systemd/masqd.service")) || h.files()["/usr/local/share/man/man8/masqd.8.gz"] != 0o644 {
		t.Errorf("the tarball has other files: %v", slices.Sorted(maps.Keys(h.files())))
	}
}
