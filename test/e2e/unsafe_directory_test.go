package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// unprivileged is a user of the node without privileges.
const unprivileged = 12345

// as runs a command as the unprivileged user.
func (w *world) as(name string, args ...string) {
	w.t.Helper()
	all := append([]string{"--reuid", strconv.Itoa(unprivileged), "--clear-groups", "--bounding-set=-all", name}, args...)
	if out, err := w.Node.Command(soon(w.t), "setpriv", all...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %v as user %d: %v\n%s", name, args, unprivileged, err, out)
	}
}

// open makes a directory of the test, such as t.TempDir(), accessible to every user.
func (w *world) open() {
	w.t.Helper()
	for dir := w.dir; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		assert.NoError(w.t, os.Chmod(dir, 0o755))
	}
}

// TestUnsafeDirectories: a user who can make files in the directory of the records or leases
// could plant a record, or a link to a file that root then overwrites. The plugin refuses such
// a directory and says why. Attachments from before are still removed.
func TestUnsafeDirectories(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.open()
	p := w.pod("a")
	state, leases := filepath.Join(w.dir, "state"), filepath.Join(w.dir, "leases")
	for _, x := range []struct {
		what   string
		dir    string // directory that the message names
		code   uint
		before func() // makes the directory
		safe   bool
	}{
		{"the state directory is open to all", state, ofState, func() { assert.NoError(t, os.Mkdir(state, 0o700)); assert.NoError(t, os.Chmod(state, 0o777)) }, false},
		{"the records' directory is open to all", state, ofState, func() {
			assert.NoError(t, os.MkdirAll(filepath.Join(state, "attachments"), 0o700))
			assert.NoError(t, os.Chmod(filepath.Join(state, "attachments"), 0o1777|os.ModeSticky))
		}, false},
		{"the state directory is a user's", state, ofState, func() {
			assert.NoError(t, os.Mkdir(state, 0o755))
			assert.NoError(t, os.Chown(state, unprivileged, unprivileged))
		}, false},
		{"a user made the records' directory", state, ofState, func() {
			assert.NoError(t, os.Mkdir(state, 0o700))
			assert.NoError(t, os.Chmod(state, 0o777|os.ModeSticky))
			w.as("mkdir", filepath.Join(state, "attachments"))
		}, false},
		{"a user made a link of the state directory's name", state, ofState, func() {
			assert.NoError(t, os.Mkdir(state, 0o700))
			assert.NoError(t, os.Chmod(state, 0o777|os.ModeSticky))
			assert.NoError(t, os.Mkdir(filepath.Join(w.dir, "elsewhere"), 0o700))
			w.as("ln", "-s", filepath.Join(w.dir, "elsewhere"), filepath.Join(state, "attachments"))
		}, false},
		{"the leases' directory is open to all", leases, ofIPAM, func() { assert.NoError(t, os.Mkdir(leases, 0o700)); assert.NoError(t, os.Chmod(leases, 0o777)) }, false},
		{"a user made the network's leases", leases, ofIPAM, func() {
			assert.NoError(t, os.Mkdir(leases, 0o700))
			assert.NoError(t, os.Chmod(leases, 0o777|os.ModeSticky))
			w.as("mkdir", filepath.Join(leases, "net"))
		}, false},
		// The controls: directories of root, and directories where users can make only files that the
		// plugin does not read.
		{"root's", state, 0, func() { assert.NoError(t, os.Mkdir(state, 0o755)) }, true},
		{"as the root of a tmpfs", state, 0, func() {
			assert.NoError(t, os.Mkdir(state, 0o700))
			assert.NoError(t, os.Chmod(state, 0o777|os.ModeSticky))
		}, true},
		{"root's link", state, 0, func() {
			assert.NoError(t, os.Mkdir(filepath.Join(w.dir, "elsewhere"), 0o700))
			assert.NoError(t, os.Symlink("elsewhere", state))
		}, true},
	} {
		t.Run(x.what, func(t *testing.T) {
			w := w.in(t)
			for _, dir := range []string{state, leases, filepath.Join(w.dir, "elsewhere")} {
				assert.NoError(t, os.RemoveAll(dir))
			}
			x.before()
			add := call{verb: "ADD", id: "a", netns: p.Path(), conf: w.masq()}
			status, del := add, add
			status.verb, del.verb = "STATUS", "DEL"
			if x.safe {
				w.call(status).done(nil)
				w.call(add).done(new(types100.Result))
				w.call(del).done(nil)
				return
			}
			before := w.traces()
			if x.code == ofState {
				if e := w.call(status).refused(cannotAdd); !strings.Contains(e.Details, " is not safe: ") {
					t.Errorf("STATUS: %s", describe(&e))
				}
			}
			if e := w.call(add).refused(x.code); !strings.Contains(e.Details, "directory "+x.dir) || !strings.Contains(e.Details, " is not safe: ") {
				t.Errorf("ADD: %s", describe(&e))
			}
			unchanged(t, "remaining after ADD", w.traces(), before)
			w.call(del).done(nil)
			unchanged(t, "remaining after DEL", w.traces(), before)
		})
	}
}

// TestDelFromUnsafeDirectory: an attachment that was made while the directory was safe is
// removed. A link that a user plants under the name of a record's temporary file is not
// followed.
func TestDelFromUnsafeDirectory(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.open()
	before := w.traces()
	p := w.pod("a")
	add := call{verb: "ADD", id: "a", netns: p.Path(), conf: w.masq()}
	w.call(add).done(new(types100.Result))
	record := w.recordPath("a")
	victim := filepath.Join(w.dir, "victim")
	assert.NoError(t, os.WriteFile(victim, []byte("as it was"), 0o600))
	for _, dir := range []string{filepath.Join(w.dir, "state"), filepath.Dir(record)} {
		assert.NoError(t, os.Chmod(dir, 0o777))
	}
	w.as("ln", "-s", victim, strings.TrimSuffix(record, ".json")+".tmp")
	add.verb = "DEL"
	w.call(add).done(nil)
	if text := string(assert.Must(os.ReadFile(victim))(t)); text != "as it was" {
		t.Errorf("the file that a user's link leads to: %q", text)
	}
	unchanged(t, "remaining after DEL", w.traces(), before)
}

// TestDaemonInUnsafeDirectory: masqd reads no record and writes no NAT log in a directory where
// a user could plant them.
func TestDaemonInUnsafeDirectory(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.open()
	for _, flag := range []string{"--state-dir", "--nat-log"} {
		dir := filepath.Join(w.dir, strings.TrimLeft(flag, "-"))
		assert.NoError(t, os.Mkdir(dir, 0o700))
		assert.NoError(t, os.Chmod(dir, 0o777))
		out, err := w.Node.Command(soon(t), built("masqd"), append(w.served(), flag, dir)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "directory "+dir+" is not safe: ") {
			t.Errorf("%s: %v\n%s", flag, err, out)
		}
	}
}

// TestInstallIntoUnsafeDirectory: root runs the programs and reads the networks of these
// directories, so install refuses a directory to which a user can write.
func TestInstallIntoUnsafeDirectory(t *testing.T) {
	i := newInstallation(t)
	i.open()
	for _, dir := range []string{i.bin, i.conf, i.dir} {
		i.write(i.podsText(1400))
		assert.NoError(t, os.Chmod(dir, 0o777))
		out, err := i.installing(soon(t)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), " is not safe: "+dir+" can be written to by every user") || i.chained() {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
		assert.NoError(t, os.Chmod(dir, 0o755))
	}
	i.install() // control
	if !i.chained() {
		t.Error("masq is not in the network")
	}
}
