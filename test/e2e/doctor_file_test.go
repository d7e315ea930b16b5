package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// fileFixtures make the faults of doctor's file checks.
var fileFixtures = []doctorFixture{
	{check: "plugin-missing", fault: func(l *doctorLab) { assert.NoError(l.t, os.Remove(l.plugin())) }},
	{check: "plugin-missing", fault: func(l *doctorLab) {
		// libcni takes only regular files.
		assert.NoError(l.t, os.Remove(l.plugin()))
		assert.NoError(l.t, os.Symlink("absent", l.plugin()))
	}},
	{check: "plugin-not-executable", fault: func(l *doctorLab) { assert.NoError(l.t, os.Chmod(l.plugin(), 0o644)) }},
	{check: "plugin-architecture", fault: func(l *doctorLab) {
		text := assert.Must(os.ReadFile(l.plugin()))(l.t)
		text[18], text[19] = 0, 0 // e_machine EM_NONE
		assert.NoError(l.t, os.WriteFile(l.plugin(), text, 0o755))
	}},
	{check: "plugin-architecture", fault: func(l *doctorLab) { assert.NoError(l.t, os.Truncate(l.plugin(), 0)) }},
	{check: "plugin-older", fault: func(l *doctorLab) {
		older := withVersion(l.t.(*testing.T), func(v []byte) []byte {
			i := bytes.IndexAny(v, "123456789")
			return slices.Concat(v[:i], []byte{v[i] - 1}, v[i+1:])
		})
		assert.NoError(l.t, os.Rename(older, l.plugin()))
	}},
	{check: "conflist-invalid", fault: func(l *doctorLab) {
		list := l.network("10-net.conflist")
		l.putNetwork("10-net.conflist", list[:len(list)-1])
	}},
	{check: "conflist-invalid", fault: func(l *doctorLab) {
		l.putNetwork("10-net.conflist", bytes.Replace(l.network("10-net.conflist"), []byte(`"stateDir"`), []byte(`"statDir"`), 1))
	}},
	{check: "conflist-order", fault: func(l *doctorLab) {
		l.putNetwork("10-net.conflist", l.conflist("1.1.0", keys{"type": "masq"}, bridgeOf(l)).Bytes)
	}},
	{check: "conflist-shadowed", fault: func(l *doctorLab) {
		var list map[string]any
		assert.NoError(l.t, json.Unmarshal(l.network("10-net.conflist"), &list))
		list["masq-cni.dev/made-from"] = "pod ranges" // as masq-cni install --mode network
		l.putNetwork("10-net.conflist", assert.Must(json.Marshal(list))(l.t))
		l.putNetwork("05-other.conflist", l.namedConflist("other", "1.1.0", bridgeOf(l)).Bytes)
	}},
	{check: "conflist-without-masq", fault: func(l *doctorLab) {
		l.putNetwork("10-net.conflist", l.conflist("1.1.0", bridgeOf(l)).Bytes)
	}},
}

func (l *doctorLab) plugin() string { return filepath.Join(l.binDir(), "masq") }

// network returns the content of a network configuration.
func (l *doctorLab) network(name string) []byte {
	l.t.Helper()
	return assert.Must(os.ReadFile(filepath.Join(l.confDir(), name)))(l.t)
}

// putNetwork writes a network configuration. Its time of modification is a minute ago: doctor
// ignores an invalid file that another program may still be writing.
func (l *doctorLab) putNetwork(name string, text []byte) {
	l.t.Helper()
	path := filepath.Join(l.confDir(), name)
	assert.NoError(l.t, os.WriteFile(path, text, 0o644))
	before := time.Now().Add(-time.Minute)
	assert.NoError(l.t, os.Chtimes(path, before, before))
}

// bridgeOf returns a plugin that makes links.
func bridgeOf(l *doctorLab) keys { return keys{"type": "bridge", "ipam": l.masq()["ipam"]} }

// TestDoctorSearchesCNIPath: without --bin-dir, doctor searches for the plugin in CNI_PATH of
// the newest attachment.
func TestDoctorSearchesCNIPath(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	bin, conf := filepath.Join(w.dir, "bin"), filepath.Join(w.dir, "net.d")
	assert.NoError(t, os.MkdirAll(bin, 0o755))
	assert.NoError(t, os.MkdirAll(conf, 0o755))
	plugin := filepath.Join(bin, "masq")
	assert.NoError(t, os.WriteFile(plugin, assert.Must(os.ReadFile(built("masq")))(t), 0o755))
	path := append([]string{filepath.Join(w.dir, "absent"), bin}, pluginPath(t)[1:]...)
	w.cni = libcni.NewCNIConfigWithCacheDir(path, filepath.Join(w.dir, "cache"), nil)
	w.attach("c0", w.conflist("1.1.0", w.masq()))
	missing := func() []doctor.Finding {
		t.Helper()
		var r doctor.Report
		out, _ := w.command(w.Node, "doctor", "--conf-dir", conf, "-o", "json").Output() // another fault of the node is not the matter
		assert.NoError(t, json.Unmarshal(out, &r))
		return slices.DeleteFunc(r.Findings, func(f doctor.Finding) bool { return f.Check != "plugin-missing" })
	}
	if found := missing(); len(found) > 0 {
		t.Errorf("with the plugin: %+v", found)
	}
	aside := filepath.Join(w.dir, "aside")
	assert.NoError(t, os.Rename(plugin, aside))
	t.Cleanup(func() { assert.NoError(t, os.Rename(aside, plugin)) }) // for DEL
	found := missing()
	if len(found) != 1 || !strings.Contains(found[0].Message, bin) || !slices.ContainsFunc(found[0].Evidence, func(e doctor.Evidence) bool { return e.Value == strings.Join(path, ":") }) {
		t.Errorf("without the plugin: %+v", found)
	}
}

// TestDoctorHTML: --html writes the page to a file and the text to standard output, and with -
// only the page.
func TestDoctorHTML(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{})
	assert.NoError(t, os.Remove(l.plugin()))
	file := filepath.Join(l.dir, "page.html")
	run := func(args ...string) (string, int) {
		t.Helper()
		out, err := l.command(l.Node, append([]string{"doctor", "--conf-dir", l.confDir(), "--bin-dir", l.binDir()}, args...)...).CombinedOutput()
		return string(out), code(err)
	}
	text, exit := run("--html", file)
	page := string(assert.Must(os.ReadFile(file))(t))
	if exit != 1 || !strings.Contains(text, "plugin-missing") || strings.Contains(text, "<html") {
		t.Errorf("exit code %d:\n%s", exit, text)
	}
	only, exit := run("--html", "-")
	if exit != 1 || !strings.HasPrefix(only, "<!DOCTYPE html>") || !strings.HasSuffix(only, "</html>\n") {
		t.Errorf("exit code %d:\n%s", exit, only)
	}
	for _, p := range []string{page, only} {
		if !strings.Contains(p, `<p class="check">plugin-missing</p>`) || !strings.Contains(p, "masq-cni install") {
			t.Errorf("the page lacks the finding:\n%s", p)
		}
	}
	for _, args := range [][]string{{"--html", "-", "-o", "json"}, {"--html", "-", "--fix"}, {"--html", filepath.Join(l.dir, "absent", "page.html")}} {
		if text, exit := run(args...); exit != 2 || !strings.Contains(text, "--html") {
			t.Errorf("%v: exit code %d:\n%s", args, exit, text)
		}
	}
}
