package cnidir

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/pkg/safedir"
)

// confDir is a directory of networks, with files that are older than minAge.
type confDir struct {
	testing.TB
	path string
}

func newConfDir(t testing.TB, files map[string]string) confDir {
	t.Helper()
	d := confDir{t, t.TempDir()}
	for name, text := range files {
		d.write(name, text)
	}
	return d
}

func (d confDir) at(name string) string { return filepath.Join(d.path, name) }

func (d confDir) check(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d confDir) write(name, text string) {
	d.Helper()
	d.check(os.WriteFile(d.at(name), []byte(text), 0o600))
	old := time.Now().Add(-time.Hour)
	d.check(os.Chtimes(d.at(name), old, old))
}

func (d confDir) read(name string) string {
	d.Helper()
	b, err := os.ReadFile(d.at(name))
	d.check(err)
	return string(b)
}

// names returns the names of all files in the directory, including hidden files.
func (d confDir) names() (out []string) {
	d.Helper()
	entries, err := os.ReadDir(d.path)
	d.check(err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// chain inserts the entry.
func (d confDir) chain(entry json.RawMessage) Outcome {
	d.Helper()
	outcome, err := Chain(d.Context(), d.path, entry)
	d.check(err)
	return outcome
}

// used returns the network that containerd uses: the first file by name.
func (d confDir) used() []string {
	d.Helper()
	files, err := libcni.ConfFiles(d.path, extensions)
	d.check(err)
	if len(files) == 0 {
		d.Fatal("the directory has no network")
	}
	slices.Sort(files)
	if filepath.Ext(files[0]) == ".conflist" {
		l, err := libcni.NetworkConfFromFile(files[0])
		d.check(err)
		return types(&list{conf: l})
	}
	p, err := libcni.NetworkPluginConfFromBytes([]byte(d.read(filepath.Base(files[0]))))
	d.check(err)
	return []string{p.Network.Type}
}

func (d confDir) wantUsed(want ...string) {
	d.Helper()
	if got := d.used(); !slices.Equal(got, want) {
		d.Errorf("the runtime uses %v, want %v", got, want)
	}
}

func (d confDir) wantNames(want ...string) {
	d.Helper()
	if got := d.names(); !slices.Equal(got, want) {
		d.Errorf("the files are %v, want %v", got, want)
	}
}

const (
	ptp    = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"ptp"},{"type":"portmap"}]}`
	bridge = `{"cniVersion":"0.4.0","name":"others","plugins":[{"type":"bridge","ipMasq":true}]}`
	conf   = `{"cniVersion":"0.3.1","name":"pods","type":"multus","delegates":[{"type":"x"}]}`
)

func TestChain(t *testing.T) {
	d := newConfDir(t, map[string]string{"10-pods.conflist": ptp, "87-others.conflist": bridge, "00-readme.txt": "no network", "calico-kubeconfig": "no network either"})
	d.check(os.Chmod(d.at("10-pods.conflist"), 0o640))
	e := entry(t, "")
	outcome := d.chain(e)
	if len(outcome.Changes) != 1 || outcome.Changes[0].Path != d.at("10-pods.conflist") || outcome.Warnings != nil {
		t.Errorf("%+v", outcome)
	}
	d.wantUsed("ptp", "masq", "portmap")
	if other := d.read("87-others.conflist"); other != bridge {
		t.Errorf("the other file is now %s", other)
	}
	info, err := os.Stat(d.at("10-pods.conflist"))
	d.check(err)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %s", info.Mode())
	}
	// A second install changes nothing.
	if outcome := d.chain(e); outcome.Changes != nil {
		t.Errorf("%+v", outcome)
	}
	again, err := os.Stat(d.at("10-pods.conflist"))
	d.check(err)
	if !os.SameFile(info, again) || !info.ModTime().Equal(again.ModTime()) {
		t.Error("the file was written a second time")
	}
	// Another entry replaces it, and the change is reported.
	outcome = d.chain(entry(t, `{"toPorts":"20000-29999"}`))
	if len(outcome.Changes) != 1 || outcome.Changes[0].Note != "before: "+plainEntry {
		t.Errorf("%+v", outcome)
	}
	if text := d.read("10-pods.conflist"); strings.Count(text, "masq\"") != 1 || !strings.Contains(text, "20000") {
		t.Errorf("the file is now %s", text)
	}
	outcome, in, err := Remove(t.Context(), d.path)
	if err != nil || in != nil || len(outcome.Changes) != 1 {
		t.Errorf("%+v, %v, %v", outcome, in, err)
	}
	if text := d.read("10-pods.conflist"); text != ptp {
		t.Errorf("without masq the file is %s", text)
	}
	d.wantNames("00-readme.txt", "10-pods.conflist", "87-others.conflist", "calico-kubeconfig")
}

// A file of root keeps its owner without a capability. A file of another user needs
// CAP_CHOWN.
func TestOwner(t *testing.T) {
	d := newConfDir(t, map[string]string{"10-pods.conflist": ptp})
	if os.Geteuid() == 0 {
		d.check(os.Chown(d.at("10-pods.conflist"), 1234, 2345))
	}
	owner := func() [2]uint32 {
		info, err := os.Stat(d.at("10-pods.conflist"))
		d.check(err)
		st := info.Sys().(*syscall.Stat_t)
		return [2]uint32{st.Uid, st.Gid}
	}
	before := owner()
	d.chain(entry(t, ""))
	if after := owner(); after != before {
		t.Errorf("the owner is %v, and was %v", after, before)
	}
}

func TestUnreadableFiles(t *testing.T) {
	for name, text := range map[string]string{
		"05-empty.conflist": "", "05-half.conflist": ptp[:40], "05-list.conf": ptp, "05-list.json": ptp,
		"05-none.conflist": `{"name":"a","cniVersion":"1.0.0"}`, "05-large.conflist": `{"name":"` + strings.Repeat("a", maxSize) + `"}`,
	} {
		d := newConfDir(t, map[string]string{"10-pods.conflist": ptp, name: text})
		outcome := d.chain(entry(t, ""))
		if len(outcome.Changes) != 1 || outcome.Changes[0].Path != d.at("10-pods.conflist") {
			t.Errorf("%s: %+v", name, outcome)
		}
		if len(outcome.Warnings) != 1 || !strings.HasPrefix(outcome.Warnings[0], d.at(name)+": ") || !strings.Contains(outcome.Warnings[0], "containerd") {
			t.Errorf("%s: %q", name, outcome.Warnings)
		}
		// A young file may still be being written, and may be the file that the runtime uses.
		d = newConfDir(t, map[string]string{"10-pods.conflist": ptp, name: text})
		d.check(os.Chtimes(d.at(name), time.Now(), time.Now()))
		if outcome, err := Chain(t.Context(), d.path, entry(t, "")); !errors.Is(err, ErrBusy) || outcome.Changes != nil {
			t.Errorf("%s: %v, %+v", name, err, outcome)
		}
	}
	d := newConfDir(t, map[string]string{"10-pods.conflist": ptp})
	d.check(syscall.Mkfifo(d.at("00-fifo.conflist"), 0o600))
	d.check(os.Symlink("nowhere", d.at("01-dangling.conflist")))
	old := []syscall.Timespec{syscall.NsecToTimespec(0), syscall.NsecToTimespec(0)}
	d.check(syscall.UtimesNano(d.at("00-fifo.conflist"), old))
	outcome, err := Chain(t.Context(), d.path, entry(t, ""))
	if !errors.Is(err, ErrBusy) { // the link is new
		t.Errorf("%v, %+v", err, outcome)
	}
	d.check(os.Remove(d.at("01-dangling.conflist")))
	if outcome := d.chain(entry(t, "")); len(outcome.Warnings) != 1 || !strings.Contains(outcome.Warnings[0], "not a regular file") {
		t.Errorf("%+v", outcome)
	}
}

func TestWithoutNetwork(t *testing.T) {
	d := newConfDir(t, nil)
	for _, path := range []string{d.path, d.at("nowhere")} {
		if _, err := Chain(t.Context(), path, entry(t, "")); !errors.Is(err, ErrNoNetwork) {
			t.Errorf("%s: %v", path, err)
		}
		if outcome, in, err := Remove(t.Context(), path); err != nil || in != nil || outcome.Changes != nil {
			t.Errorf("%s: %v, %v, %+v", path, err, in, outcome)
		}
	}
}

// A file with a single plugin is kept. A list that is made from it comes before it,
// as long as the file exists.
func TestSinglePlugin(t *testing.T) {
	for _, name := range []string{"00-multus.conf", "00-multus.json"} {
		d := newConfDir(t, map[string]string{name: conf, "10-pods.conflist": ptp})
		e := entry(t, "")
		if outcome := d.chain(e); len(outcome.Changes) != 1 || outcome.Changes[0].Path != d.at("00-multus-masq.conflist") {
			t.Errorf("%+v", outcome)
		}
		d.wantUsed("multus", "masq")
		made, err := libcni.LoadNetworkConf(d.path, "pods")
		if err != nil || made.CNIVersion != "0.3.1" || !sameJSON(made.Plugins[0].Bytes, []byte(conf)) {
			t.Errorf("%+v, %v", made, err)
		}
		if outcome := d.chain(e); outcome.Changes != nil {
			t.Errorf("%+v", outcome)
		}
		d.write(name, strings.Replace(conf, `"x"`, `"y"`, 1))
		d.chain(e)
		if text := d.read("00-multus-masq.conflist"); !strings.Contains(text, `"type": "y"`) {
			t.Errorf("the list did not follow the file:\n%s", text)
		}
		d.check(os.Remove(d.at(name)))
		d.chain(e)
		d.wantNames("10-pods.conflist")
		d.wantUsed("ptp", "masq", "portmap")

		d.write(name, conf)
		d.chain(e)
		if text := d.read("10-pods.conflist"); text != ptp {
			t.Errorf("a list that is not used still has masq: %s", text)
		}
		if _, in, err := Remove(t.Context(), d.path); err != nil || in != nil {
			t.Errorf("%v, %v", in, err)
		}
		d.wantNames(name, "10-pods.conflist")
		if text := d.read(name); text != conf {
			t.Errorf("the file is now %s", text)
		}
	}
	// The list is removed with the network.
	d := newConfDir(t, map[string]string{"10-a.conf": conf})
	d.chain(entry(t, ""))
	d.check(os.Remove(d.at("10-a.conf")))
	if _, err := Chain(t.Context(), d.path, entry(t, "")); !errors.Is(err, ErrNoNetwork) {
		t.Error(err)
	}
	d.wantNames()
	d.write("10-a.conf", `{"type":"x"}`)
	if _, err := Chain(t.Context(), d.path, entry(t, "")); err == nil || !strings.Contains(err.Error(), `no "name"`) {
		t.Error(err)
	}
}

// The list that is made from a file comes directly before it in the order of names.
func TestNameBefore(t *testing.T) {
	for _, name := range []string{"10-a.conf", "a.json", "10-a.b.conf", "99-z.conf"} {
		made := nameBefore(name)
		before := []string{"!", "10-", "10-Z.conf", "9-", "10-a", "99-y.conflist", "a-"}
		for _, b := range before {
			if b < name && !strings.HasPrefix(name, b) && b >= made {
				t.Errorf("%s does not come after %s", made, b)
			}
		}
		if made >= name || filepath.Ext(made) != ".conflist" {
			t.Errorf("%s is before %s", made, name)
		}
	}
}

// An entry of masq that an administrator wrote is kept.
func TestMasqAlreadyInList(t *testing.T) {
	for name, text := range map[string]string{
		"10-a.conflist": `{"name":"a","plugins":[{"type":"masq","ipam":{"type":"host-local"}},{"type":"portmap"}]}`,
		"10-a.conf":     `{"name":"a","type":"masq","ipam":{"type":"host-local"}}`,
	} {
		d := newConfDir(t, map[string]string{name: text})
		if outcome := d.chain(entry(t, "")); outcome.Changes != nil {
			t.Errorf("%+v", outcome)
		}
		outcome, in, err := Remove(t.Context(), d.path)
		if err != nil || outcome.Changes != nil || !slices.Equal(in, []string{d.at(name)}) {
			t.Errorf("%+v, %v, %v", outcome, in, err)
		}
		d.wantNames(name)
	}
	d := newConfDir(t, map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"x"},{"type":"masq"},{"type":"masq"}]}`})
	if _, err := Chain(t.Context(), d.path, entry(t, "")); err == nil || !strings.Contains(err.Error(), "2 entries of masq") {
		t.Error(err)
	}
	if _, _, err := Remove(t.Context(), d.path); err != nil || strings.Contains(d.read("10-a.conflist"), "masq") {
		t.Errorf("%v: %s", err, d.read("10-a.conflist"))
	}
}

func TestSymbolicLink(t *testing.T) {
	d := newConfDir(t, nil)
	elsewhere := newConfDir(t, map[string]string{"list": ptp})
	d.check(os.Symlink(elsewhere.at("list"), d.at("10-a.conflist")))
	if _, err := Chain(t.Context(), d.path, entry(t, "")); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Error(err)
	}
	if elsewhere.read("list") != ptp {
		t.Errorf("the file is now %s", elsewhere.read("list"))
	}
}

// If the runtime changes to another file, masq moves there.
func TestAnotherFileIsUsed(t *testing.T) {
	d := newConfDir(t, map[string]string{"87-others.conflist": bridge})
	e := entry(t, "")
	outcome := d.chain(e)
	d.wantUsed("bridge", "masq")
	if len(outcome.Warnings) != 1 || !strings.Contains(outcome.Warnings[0], "masquerades too") {
		t.Errorf("%q", outcome.Warnings)
	}
	d.write("10-pods.conflist", ptp)
	d.chain(e)
	d.wantUsed("ptp", "masq", "portmap")
	if text := d.read("87-others.conflist"); text != bridge {
		t.Errorf("the file still has masq: %s", text)
	}
	// An entry that an administrator wrote stays.
	own := strings.Replace(bridge, "}]", `},{"type":"masq"}]`, 1)
	d.write("87-others.conflist", own)
	d.chain(e)
	if text := d.read("87-others.conflist"); text != own {
		t.Errorf("the file is now %s", text)
	}
}

func TestNetwork(t *testing.T) {
	ranges := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("10.245.0.0/24")}
	main, err := MainEntry([]byte(`{"mtu":1400}`), ranges, "/run/masq-cni/leases")
	if err != nil {
		t.Fatal(err)
	}
	d := newConfDir(t, map[string]string{"05-first.conflist": bridge, "50-pods.conflist": ptp})
	e := entry(t, "")
	d.check(os.Remove(d.at("05-first.conflist")))
	d.chain(e)
	n := Network{Name: "net", CNIVersion: "1.0.0", Entry: main, Portmap: true}
	write := func() Outcome {
		t.Helper()
		outcome, err := n.Write(t.Context(), d.path, "10-masq.conflist", e)
		d.check(err)
		return outcome
	}
	if outcome := write(); len(outcome.Changes) != 2 || outcome.Warnings != nil {
		t.Errorf("%+v", outcome)
	}
	d.wantUsed("masq", "portmap")
	if text := d.read("50-pods.conflist"); text != ptp {
		t.Errorf("the file still has masq: %s", text)
	}
	const want = `{
  "cniVersion": "1.0.0",
  "name": "net",
  "masq-cni.dev/made-from": "pod ranges",
  "plugins": [
    {
      "type": "masq",
      "capabilities": {
        "io.kubernetes.cri.pod-annotations": true
      },
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/masq-cni/leases",
        "ranges": [
          [
            {
              "subnet": "10.244.1.0/24"
            },
            {
              "subnet": "10.245.0.0/24"
            }
          ],
          [
            {
              "subnet": "fd00:1::/64"
            }
          ]
        ]
      },
      "mtu": 1400
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
`
	if text := d.read("10-masq.conflist"); text != want {
		t.Errorf("the file is\n%s", text)
	}
	if outcome := write(); outcome.Changes != nil {
		t.Errorf("%+v", outcome)
	}
	d.write("05-first.conflist", bridge)
	if outcome := write(); len(outcome.Warnings) != 1 || !strings.Contains(outcome.Warnings[0], "comes before") {
		t.Errorf("%+v", outcome)
	}
	// Back to a chain: our list is removed after masq was inserted into the other.
	d.check(os.Remove(d.at("05-first.conflist")))
	d.chain(e)
	d.wantNames("50-pods.conflist")
	d.wantUsed("ptp", "masq", "portmap")
	write()
	d.check(os.Remove(d.at("50-pods.conflist")))
	if _, err := Chain(t.Context(), d.path, e); !errors.Is(err, ErrNoNetwork) {
		t.Error(err)
	}
	d.wantNames("10-masq.conflist")
	if outcome, _, err := Remove(t.Context(), d.path); err != nil || len(outcome.Changes) != 1 {
		t.Errorf("%+v, %v", outcome, err)
	}
	d.wantNames()
	// Another program wrote a file with this name.
	d.write("10-masq.conflist", ptp)
	if _, err := n.Write(t.Context(), d.path, "10-masq.conflist", e); err == nil || !strings.Contains(err.Error(), "--conf-name") {
		t.Error(err)
	}
}

func TestEntryKeys(t *testing.T) {
	for given, want := range map[string]string{
		"":     plainEntry,
		"{}":   plainEntry,
		"null": "not a JSON object",
		"[1]":  "not a JSON object",
		`{"mtu": 1400, "capabilities": {}, "helpers": {"ftp": []}}`: `{"type":"masq","capabilities":{},"helpers":{"ftp": []},"mtu":1400}`,
		`{"type":"other"}`:                 `"type" is not allowed`,
		`{"ipam":{"type":"host-local"}}`:   `"ipam" is not allowed: after another plugin`,
		`{"cniVersion":"1.0.0","name":""}`: "is not allowed",
	} {
		got, err := Entry([]byte(given))
		if err != nil && strings.Contains(err.Error(), want) {
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
	if _, err := MainEntry([]byte(`{"ipam":{}}`), nil, ""); err == nil {
		t.Error("ipam is accepted with pod ranges")
	}
}

// If another program changes the file first, its text stays.
func TestConcurrentChange(t *testing.T) {
	c := newConfDir(t, map[string]string{"10-pods.conflist": ptp})
	d, err := lockDir(t.Context(), c.path)
	c.check(err)
	defer d.release()
	files, err := d.readAll()
	c.check(err)
	c.write("10-pods.conflist", bridge)
	var outcome Outcome
	if _, err := d.chain(&outcome, files[0], entry(t, "")); !errors.Is(err, safedir.ErrChanged) || outcome.Changes != nil {
		t.Errorf("%v, %+v", err, outcome)
	}
	if text := c.read("10-pods.conflist"); text != bridge {
		t.Errorf("the file is now %s", text)
	}
	c.wantNames("10-pods.conflist")
}

// An install waits for the lock, and removes temporary files of a killed install.
func TestConcurrentInstalls(t *testing.T) {
	c := newConfDir(t, map[string]string{
		".10-pods.conflist.masq-cni-0123456789abcdef": "left", "10-pods.conflist": ptp,
		".10-pods.conflist.masq-cni-0123456789abcdeX": "another's", ".other": "",
	})
	first, err := lockDir(t.Context(), c.path)
	c.check(err)
	c.wantNames(".10-pods.conflist.masq-cni-0123456789abcdeX", ".other", "10-pods.conflist")
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() {
		_, err := lockDir(ctx, c.path)
		second <- err
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	first.release()
	third, err := lockDir(t.Context(), c.path)
	c.check(err)
	third.release()
	if _, err := lockDir(t.Context(), c.at("nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
