package deploy

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
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

// sums returns the file's name and checksum of each line of a SHA256SUMS.
func sums(t *testing.T, dist string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(string(assert.Must(os.ReadFile(filepath.Join(dist, "SHA256SUMS")))(t))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		out[name] = sum
	}
	return out
}

// The release has the files that docs/packages.md lists, for each architecture, and the
// checksum of each.
func TestChecksums(t *testing.T) {
	dist := os.Getenv("MASQ_DIST")
	all := sums(t, dist)
	if _, err := os.Stat(filepath.Join(dist, "NOTES.md")); err != nil {
		t.Fatalf("make image has removed the release; run make release: %v", err)
	}
	for name, want := range all {
		got := sha256.Sum256(assert.Must(os.ReadFile(filepath.Join(dist, name)))(t))
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("%s has another checksum than SHA256SUMS says: run make release", name)
		}
	}
	_, page, _ := strings.Cut(string(read(t, "docs/packages.md")), "| file | what it is |\n")
	page, _, _ = strings.Cut(page, "\n\n")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(regexp.MustCompile(`(?m)^(\|[^|]*\|).*$`).ReplaceAllString(page, "$1"), -1) {
		pattern := strings.NewReplacer("VERSION", currentVersion(t), "ARCH.rpm", "*.rpm", "ARCH", "*").Replace(m[1])
		var has []string
		for name := range all {
			if assert.Must(filepath.Match(pattern, name))(t) {
				has, documented[name] = append(has, name), true
			}
		}
		if strings.Contains(m[1], "ARCH") && len(has) != 2 || len(has) == 0 && m[1] != "SHA256SUMS" {
			t.Errorf("docs/packages.md: %s: the release has %v", m[1], has)
		}
	}
	for name := range all {
		if !documented[name] {
			t.Errorf("docs/packages.md does not describe %s", name)
		}
	}
	for _, entry := range assert.Must(os.ReadDir(dist))(t) {
		if _, ok := all[entry.Name()]; !ok && !entry.IsDir() && entry.Name() != "SHA256SUMS" && entry.Name() != "NOTES.md" {
			t.Errorf("SHA256SUMS lacks %s", entry.Name())
		}
	}
	h := newHostRoot(t)
	for _, line := range h.section("The files") {
		if target, ok := strings.CutPrefix(line, "make "); ok && regexp.MustCompile(`(?m)^`+target+`: `).Match(read(t, "Makefile")) {
			continue
		}
		if out := h.run(line); !strings.Contains(out, ".deb: OK") {
			t.Errorf("%s: %s", line, out)
		}
	}
	notes := string(assert.Must(os.ReadFile(filepath.Join(dist, "NOTES.md")))(t))
	if _, rest, ok := strings.Cut(string(read(t, "CHANGELOG.md")), "\n## ["+currentVersion(t)+"] - "); !ok || !strings.Contains(rest, strings.TrimSpace(notes)) {
		t.Errorf("NOTES.md is not the section of CHANGELOG.md for this version:\n%s", notes)
	}
}

// The tarballs and packages of an architecture contain the same programs as its image,
// built for that architecture.
func TestProgramsAreTheSame(t *testing.T) {
	dist, version := os.Getenv("MASQ_DIST"), currentVersion(t)
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for arch, machine := range machines {
		rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
		unpack := []string{
			"tar -xzf masq-cni_" + version + "_linux_" + arch + ".tar.gz -C",
			"dpkg-deb --extract masq-cni_" + version + "-1_" + arch + ".deb",
			"rpm2archive -n <masq-cni-" + version + "-1." + rpmArch + ".rpm | tar -xf - -C",
			"tar -xzf kubectl-masq_" + version + "_linux_" + arch + ".tar.gz -C",
		}
		found := map[string]int{}
		for _, command := range unpack {
			dir := t.TempDir()
			c := exec.Command("bash", "-c", "set -euo pipefail; "+command+" "+dir)
			c.Dir = dist
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			assert.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
				base := filepath.Base(name)
				if err != nil || d.IsDir() || !slices.Contains([]string{"masq", "masqd", "masq-cni", "kubectl-masq"}, base) {
					return err
				}
				content, err := os.ReadFile(name)
				if err != nil || !bytes.HasPrefix(content, []byte(elf.ELFMAG)) {
					return err // /etc/default/masqd, completions
				}
				found[base]++
				f := assert.Must(elf.NewFile(bytes.NewReader(content)))(t)
				if f.Machine != machine || !bytes.Equal(content, assert.Must(os.ReadFile(filepath.Join(dist, "linux_"+arch, base)))(t)) {
					t.Errorf("%s: %s is for %v, or is not the program of the image", command, base, f.Machine)
				}
				return nil
			}))
		}
		if want := map[string]int{"masq": 3, "masqd": 3, "masq-cni": 3, "kubectl-masq": 1}; !maps.Equal(found, want) {
			t.Errorf("%s: there are %v, not %v", arch, found, want)
		}
	}
}

// The packaged chart renders the same objects as the chart and the manifests.
func TestChartPackage(t *testing.T) {
	dist := os.Getenv("MASQ_DIST")
	packed := assert.Must(tool("helm", "template", "masq-cni", filepath.Join(dist, "masq-cni-"+currentVersion(t)+".tgz"), "--namespace=kube-system"))(t)
	same(t, "chart and its package", helm(t), assert.Must(parse(packed))(t))
	for file, of := range map[string]string{"masq-cni.yaml": "deploy/masq-cni.yaml", "masq-cni-uninstall.yaml": "deploy/uninstall.yaml"} {
		if !bytes.Equal(assert.Must(os.ReadFile(filepath.Join(dist, file)))(t), read(t, of)) {
			t.Errorf("%s is not %s", file, of)
		}
	}
}

// krew installs the plugin from the manifest and the tarball, as docs/packages.md says. It
// refuses a file with another checksum.
func TestKrew(t *testing.T) {
	dist := os.Getenv("MASQ_DIST")
	_, rest, _ := strings.Cut(string(read(t, "docs/packages.md")), "\nkubectl krew ")
	line, _, _ := strings.Cut(rest, "\n")
	line = strings.ReplaceAll(line, "amd64", runtime.GOARCH)
	if !strings.HasPrefix(line, "install --manifest masq.yaml --archive kubectl-masq_*_linux_") {
		t.Fatalf("docs/packages.md: no test for kubectl krew %s", line)
	}
	krew := func(line string) (string, string, error) {
		dir := t.TempDir()
		c := exec.CommandContext(t.Context(), "bash", "-c", filepath.Join(os.Getenv("MASQ_DEPLOY"), "krew")+" "+line)
		c.Dir = dist
		c.Env = append(os.Environ(), "KREW_ROOT="+dir, "HOME="+dir, "KREW_NO_UPGRADE_CHECK=1")
		out, err := c.CombinedOutput()
		return dir, string(out), err
	}
	dir, out, err := krew(line)
	if err != nil {
		t.Fatalf("krew %s: %v\n%s", line, err, out)
	}
	version := string(assert.Must(exec.Command(filepath.Join(dir, "bin/kubectl-masq"), "--version").CombinedOutput())(t))
	if !strings.Contains(version, " "+currentVersion(t)+" (") {
		t.Errorf("krew installed %s", version)
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if _, out, err := krew(strings.ReplaceAll(line, runtime.GOARCH, other)); err == nil {
		t.Errorf("krew installs a file with another checksum: %s", out)
	}
}

// A release is refused if the manifests have another version, or if CHANGELOG.md has no
// section for this version.
func TestReleaseIsOfOneVersion(t *testing.T) {
	for name, message := range map[string]string{
		"deploy/helm/masq-cni/Chart.yaml": "run make manifests",
		"deploy/masq-cni.yaml":            "run make manifests",
		"deploy/uninstall.yaml":           "run make manifests",
		"CHANGELOG.md":                    "has no entries under the heading ## [" + version + "]",
	} {
		dir := t.TempDir()
		checkoutOf(t, dir)
		assert.NoError(t, os.WriteFile(filepath.Join(dir, name), read(t, name), 0o644)) // the current version
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "hack/release")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), name) || !strings.Contains(string(out), message) {
			t.Errorf("%s of another version: %v: %s", name, err, out)
		}
	}
}
