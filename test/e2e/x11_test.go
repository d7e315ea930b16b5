package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestX11 has a client outside connect to the X server of a container: in X the server is at
// the user's side. portmap publishes the port in the same conflist, and the server's answers
// leave through the same masquerade.
func TestX11(t *testing.T) {
	const display, port = 1, 6001
	w := newWorld(t, nstest.Uplink{})
	x := w.xserver()
	published := map[string]any{"portMappings": []keys{{"hostPort": port, "containerPort": port, "protocol": "tcp"}}}
	for _, network := range []struct {
		name    string
		plugins []keys
		reached bool
	}{
		{"portmap", []keys{w.masq(), portmap()}, true},
		{"no portmap", []keys{w.masq()}, false},
	} {
		t.Run(network.name, func(t *testing.T) {
			w := w.in(t)
			p := w.attachWith("a", w.conflist("1.1.0", network.plugins...), published)
			x.start(w, p, display)

			// The server in the container offers a selection, the client outside reads it.
			const text = "cut here, paste there"
			owner := p.Command(soon(t), "xsel", "--display", fmt.Sprintf("127.0.0.1:%d", display), "--nodetach", "--input")
			owner.Stdin = strings.NewReader(text)
			w.background(owner)

			from := assert.Must(p.Capture("eth0", func(q nstest.Packet) bool { return q.DstPort == port && q.Src == w.V4.Server }))(t)
			ask := func() (string, error) {
				c := w.Server.Command(soon(t), "xsel", "--display", fmt.Sprintf("%s:%d", w.V4.Node, display), "--output")
				out, err := c.Output()
				return string(out), err
			}
			if !network.reached {
				if out, err := ask(); err == nil || !strings.Contains(err.Error(), "Can't open display") {
					t.Errorf("xsel without portmap: %q, %v", out, err)
				}
				if seen := from.Packets(); len(seen) != 0 {
					t.Errorf("the container was reached: %v", seen)
				}
				return
			}
			until(w.t, "the selection is read", func() bool {
				out, err := ask()
				if err != nil {
					t.Fatalf("xsel: %v", err)
				}
				return out == text // the owner offers it after a moment
			})
			if len(from.Packets()) == 0 {
				t.Errorf("no packet of %s arrived in the container", w.V4.Server)
			}
		})
	}
}

// xserver is TightVNC's X server, which needs no screen and few packages.
type xserver struct{ dir string }

func (w *world) xserver() xserver {
	w.t.Helper()
	root := unpacked(w.t, "tightvncserver", "xfonts-base", "libjpeg62-turbo")
	x := xserver{w.t.TempDir()}
	from := filepath.Join(root, "usr/share/fonts/X11/misc")
	for _, font := range []string{"6x13-ISO8859-1.pcf.gz", "cursor.pcf.gz"} {
		assert.NoError(w.t, os.Rename(filepath.Join(from, font), filepath.Join(x.dir, font)))
	}
	libs := assert.Must(filepath.Glob(filepath.Join(root, "usr/lib/*/libjpeg.so.62*")))(w.t)
	for _, path := range append(libs, filepath.Join(root, "usr/bin/Xtightvnc")) {
		assert.NoError(w.t, os.Rename(path, filepath.Join(x.dir, filepath.Base(path))))
	}
	const fixed = "-misc-fixed-medium-r-semicondensed--13-120-75-75-c-60-iso8859-1"
	assert.NoError(w.t, os.WriteFile(filepath.Join(x.dir, "fonts.dir"), []byte("2\n6x13-ISO8859-1.pcf.gz "+fixed+"\ncursor.pcf.gz cursor\n"), 0o644))
	assert.NoError(w.t, os.WriteFile(filepath.Join(x.dir, "fonts.alias"), []byte("fixed "+fixed+"\n"), 0o644))
	return x
}

// start starts the server in a container with a private /tmp, where the X server keeps its
// lock and socket.
func (x xserver) start(w *world, p *pod, display int) {
	w.t.Helper()
	w.serve(p.NS, "tcp", uint16(6000+display), "unshare", "--mount", "sh", "-c",
		`mount --bind "$0" /tmp && LD_LIBRARY_PATH=/tmp exec /tmp/Xtightvnc "$@"`,
		x.dir, fmt.Sprintf(":%d", display), "-fp", "/tmp", "-ac")
}

// program returns the path of a program whose package must not be installed for a test,
// because it would start a service on this machine.
func program(t testing.TB, path, of string) string {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return filepath.Join(unpacked(t, of), path)
}

// unpacked returns a directory with the files of Debian packages.
func unpacked(t testing.TB, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	options := []string{"-q", "-o", "APT::Sandbox::User=root"}
	out, err := aptGet(t, dir, append(append(options, "download"), packages...))
	if err != nil {
		// Old package lists name versions that the archive no longer has. New lists are fetched
		// for this test, separate from the machine's.
		assert.NoError(t, os.MkdirAll(filepath.Join(dir, "lists/partial"), 0o755))
		options = append(options, "-o", "Dir::State::Lists="+filepath.Join(dir, "lists"),
			"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")
		for _, verb := range [][]string{{"update"}, append([]string{"download"}, packages...)} {
			more, err := aptGet(t, dir, append(options, verb...))
			if out += more; err != nil {
				t.Fatalf("apt-get %v: %v\n%s", verb, err, out)
			}
		}
	}
	debs := assert.Must(filepath.Glob(filepath.Join(dir, "*.deb")))(t)
	if len(debs) != len(packages) {
		t.Fatalf("apt-get download %v gave %v", packages, debs)
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(soon(t), "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
			t.Fatalf("dpkg -x %s: %v\n%s", deb, err, out)
		}
	}
	return root
}

func aptGet(t testing.TB, dir string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "apt-get", args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}
