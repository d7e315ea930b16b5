package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// variants returns two different programs that are the plugin in the same version.
func variants(t *testing.T) (paths [2]string) {
	t.Helper()
	text := assert.Must(os.ReadFile(built("masq")))(t)
	for n := range paths {
		paths[n] = filepath.Join(t.TempDir(), "masq")
		// An ELF program may have data after its last section.
		assert.NoError(t, os.WriteFile(paths[n], append(slices.Clone(text), byte(n)), 0o700))
	}
	return paths
}

// replacements is the number of times that the plugin is replaced.
const replacements = 1000

// TestInstallWhileThePluginRuns executes the plugin in a loop while install replaces it.
// The control replaces it with cp.
func TestInstallWhileThePluginRuns(t *testing.T) {
	i := newInstallation(t)
	plugins := variants(t)
	install := func(n int) {
		t.Helper()
		if done := assert.Must(cnidir.Program{Source: plugins[n%2]}.Install(t.Context(), i.bin))(t); !done.Changed {
			t.Fatalf("replacement %d changed nothing", n)
		}
	}
	install(0)
	l := i.executing()
	begun := time.Now()
	for n := range replacements {
		install(n + 1)
	}
	took := time.Since(begun)
	said := l.end()
	t.Logf("executed %s times while it was replaced %d times in %s", said, replacements, took)
	if !regexp.MustCompile(`^[1-9]\d*$`).MatchString(said) {
		t.Errorf("the plugin could not be executed: %s", said)
	}
	if left := i.leftovers(); left != nil {
		t.Errorf("left: %v", left)
	}
	l = i.executing()
	until(t, "cp fails because the plugin runs, or the plugin fails because of cp", func() bool {
		return exec.Command("cp", plugins[0], filepath.Join(i.bin, "masq")).Run() != nil || l.ended()
	})
	t.Logf("replaced by cp: %s", l.end())
}

// pluginLoop executes the plugin in a loop until it fails. The loop is a shell script, so
// this process never has the file open.
type pluginLoop struct {
	*nstest.Command
	out  bytes.Buffer
	done chan struct{}
}

func (i *installation) executing() *pluginLoop {
	i.t.Helper()
	const loop = `trap 'echo $n; exit' TERM; n=0
while CNI_COMMAND=VERSION "$0" <<<'{"cniVersion":"1.0.0"}' >/dev/null; do n=$((n+1)); done; echo "exit code $? after $n"`
	l := &pluginLoop{done: make(chan struct{})}
	l.Command = i.Node.Command(context.WithoutCancel(i.t.Context()), "bash", "-c", loop, filepath.Join(i.bin, "masq"))
	l.Stdout, l.Stderr = &l.out, &l.out
	assert.NoError(i.t, l.Start())
	go func() {
		defer close(l.done)
		_ = l.Wait()
	}()
	return l
}

func (l *pluginLoop) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// end returns how often the plugin was executed, or its error.
func (l *pluginLoop) end() string {
	_ = l.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-l.done
	return strings.TrimSpace(l.out.String())
}

// TestInstallKilled kills install at many moments: the files are the old ones or the new
// ones, and the next install leaves no other files.
func TestInstallKilled(t *testing.T) {
	i := newInstallation(t)
	plugins := variants(t)
	texts := [2][]byte{assert.Must(os.ReadFile(plugins[0]))(t), assert.Must(os.ReadFile(plugins[1]))(t)}
	plain := i.podsText(1400)
	i.write(plain)
	i.install("--plugin", plugins[0])
	chained := i.read()
	begun := time.Now()
	i.install("--plugin", plugins[1])
	whole := time.Since(begun)
	const kills = 150
	seen := map[string]int{}
	for n := range kills {
		i.write(plain)
		c := i.installing(soon(t), "--plugin", plugins[n%2])
		assert.NoError(t, c.Start())
		// Each kill comes a little later, the last ones after the end.
		killed := time.AfterFunc(whole*time.Duration(n)/(kills*4/5), func() { _ = c.Process.Kill() })
		_ = c.Wait() // it may have been killed
		killed.Stop()
		plugin := assert.Must(os.ReadFile(filepath.Join(i.bin, "masq")))(t)
		list := i.read()
		of := slices.IndexFunc(texts[:], func(text []byte) bool { return bytes.Equal(text, plugin) })
		if of < 0 || list != plain && list != chained {
			t.Fatalf("killed after %s: the plugin is that of %d, and the network is\n%s", whole*time.Duration(n)/kills, of, list)
		}
		seen[fmt.Sprintf("plugin new %t, network new %t, left %t", of == n%2, list == chained, len(i.leftovers()) > 0)]++
		i.list() // fails if it cannot be parsed
	}
	t.Logf("of %d kills within %s: %v", kills, whole, seen)
	if len(seen) < 3 {
		t.Errorf("the kills met only these states: %v", seen)
	}
	i.install("--plugin", plugins[1])
	if left := i.leftovers(); left != nil || i.read() != chained {
		t.Errorf("left: %v, and the network is\n%s", left, i.read())
	}
}

// ofVersion returns a copy of the plugin with another major version.
func ofVersion(t *testing.T, major int) string {
	t.Helper()
	return withVersion(t, func(v []byte) []byte { return fmt.Appendf(nil, "%d%s", major, v[1:]) })
}

// withVersion returns a copy of the plugin with another version of the same length. The
// version occurs in the program once as the linker's value, and maybe elsewhere as a CNI
// version: each place is tried.
func withVersion(t *testing.T, change func([]byte) []byte) string {
	t.Helper()
	text := assert.Must(os.ReadFile(built("masq")))(t)
	says := assert.Must(exec.Command(built("masq")).CombinedOutput())(t)
	m := regexp.MustCompile(`^CNI plugin masq ([0-9]\S+) `).FindSubmatch(says)
	if m == nil {
		t.Fatalf("the plugin says %q: build it by make build", says)
	}
	version := change(m[1])
	want := bytes.Replace(says, m[1], version, 1)
	path := filepath.Join(t.TempDir(), "masq")
	for at := 0; ; at++ {
		i := bytes.Index(text[at:], m[1])
		if i < 0 {
			t.Fatalf("%s cannot be put in the place of %s", version, m[1])
		}
		at += i
		assert.NoError(t, os.WriteFile(path, slices.Concat(text[:at], version, text[at+len(version):]), 0o700))
		// A program that was changed in the wrong place may fail.
		if out, _ := exec.Command(path).CombinedOutput(); bytes.Equal(out, want) {
			return path
		}
	}
}

// TestInstallOlder: install refuses to replace a newer plugin with an older one.
func TestInstallOlder(t *testing.T) {
	i := newInstallation(t)
	i.write(i.podsText(1400))
	older, newer := ofVersion(t, 1), ofVersion(t, 2)
	i.install("--plugin", older)
	if said := i.install("--plugin", newer); !regexp.MustCompile(`version=2\.\S+ before=1\.`).MatchString(said) {
		t.Errorf("it says\n%s", said)
	}
	has := func() []byte { return assert.Must(os.ReadFile(filepath.Join(i.bin, "masq")))(t) }
	out, err := i.installing(soon(t), "--plugin", older).CombinedOutput()
	if code(err) != 1 || !bytes.Contains(out, []byte("give --force to install the older version")) {
		t.Errorf("%v\n%s", err, out)
	}
	if !bytes.Equal(has(), assert.Must(os.ReadFile(newer))(t)) {
		t.Error("the newer plugin was replaced")
	}
	i.install("--plugin", older, "--force")
	if !bytes.Equal(has(), assert.Must(os.ReadFile(older))(t)) {
		t.Error("force does not help")
	}
}

// TestInstallOnAFullDisk: on a full disk install changes nothing and leaves no other files.
func TestInstallOnAFullDisk(t *testing.T) {
	i := newInstallation(t)
	plugins := variants(t)
	text := i.podsText(1400)
	// The disk has room for the plugin and the network once, but not twice.
	script := `set -e
size=$(($(stat -c %s "$1") + 512 * 1024))
mount -t tmpfs -o size=$size,mode=755 tmpfs "$0/bin"
install -m 755 "$1" "$0/bin/masq"
mount -t tmpfs -o size=16k,mode=755 tmpfs "$0/net.d"
cat >"$0/net.d/10-pods.conflist"
dd if=/dev/zero of="$0/net.d/fill" bs=4k 2>/dev/null || true
plugin=$2 what=$3; shift 3
code=0; "$@" --plugin "$plugin" || code=$?
cmp "$0/bin/masq" "$what"
cat "$0/net.d/10-pods.conflist"
ls -A "$0/bin" "$0/net.d"
exit $code`
	run := func(given, stays string) (string, error) {
		t.Helper()
		args := append([]string{"--mount", "bash", "-c", script, i.dir, plugins[0], given, stays, built("masq-cni")}, i.args("install", "--ready-url", "")...)
		c := i.Node.Command(soon(t), "unshare", args...)
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	listing := fmt.Sprintf("%s%s/bin:\nmasq\n\n%s/net.d:\n10-pods.conflist\nfill\n", text, i.dir, i.dir)
	for what, given := range map[string]string{"the plugin": plugins[1], "the network": plugins[0]} {
		out, err := run(given, plugins[0])
		if code(err) != 1 || !strings.Contains(out, "no space left on device") || !strings.HasSuffix(out, listing) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
}
