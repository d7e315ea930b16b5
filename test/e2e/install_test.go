package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// installation is a node's directories of plugins and networks as another CNI plugin has
// left them, and a runtime that reads them.
type installation struct {
	*world
	bin, conf string
}

// podsFile is the node's network and the way in which its plugin writes it. It has IPv4
// only, because ptp waits seconds for an IPv6 address.
const podsFile = "10-pods.conflist"

func (w *world) podsText(mtu int) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "mtu": %d,
      "ipam": {"type": "host-local", "dataDir": %q,
        "subnet": "10.88.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, mtu, filepath.Join(w.dir, "leases"))
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	i := &installation{w, filepath.Join(w.dir, "bin"), filepath.Join(w.dir, "net.d")}
	assert.NoError(t, os.Mkdir(i.bin, 0o755))
	assert.NoError(t, os.Mkdir(i.conf, 0o755))
	for _, name := range []string{"ptp", "host-local", "portmap"} {
		assert.NoError(t, os.Symlink(filepath.Join(os.Getenv("MASQ_PEERS"), name), filepath.Join(i.bin, name)))
	}
	i.cni = libcni.NewCNIConfigWithCacheDir([]string{i.bin}, filepath.Join(w.dir, "cache"), nil)
	return i
}

// write writes a network as a shell script does, not by rename.
func (i *installation) write(text string) {
	i.t.Helper()
	assert.NoError(i.t, os.WriteFile(filepath.Join(i.conf, podsFile), []byte(text), 0o600))
}

func (i *installation) read() string {
	i.t.Helper()
	return string(assert.Must(os.ReadFile(filepath.Join(i.conf, podsFile)))(i.t))
}

// list returns the network that a runtime uses: the network of the first file
// (containerd's go-cni).
func (i *installation) list() *libcni.NetworkConfigList {
	i.t.Helper()
	files := assert.Must(libcni.ConfFiles(i.conf, []string{".conf", ".conflist", ".json"}))(i.t)
	if len(files) == 0 {
		i.t.Fatal("there is no network")
	}
	slices.Sort(files)
	if filepath.Ext(files[0]) == ".conflist" {
		return assert.Must(libcni.NetworkConfFromFile(files[0]))(i.t)
	}
	text := assert.Must(os.ReadFile(files[0]))(i.t)
	single := assert.Must(libcni.NetworkPluginConfFromBytes(text))(i.t).Network
	return assert.Must(libcni.NetworkConfFromBytes(fmt.Appendf(nil, `{"name": %q, "cniVersion": %q, "plugins": [%s]}`, single.Name, single.CNIVersion, text)))(i.t)
}

// chained reports whether masq is in the network that the other plugin wrote.
func (i *installation) chained() bool {
	text, err := os.ReadFile(filepath.Join(i.conf, podsFile))
	return err == nil && bytes.Contains(text, []byte(`"masq"`))
}

// args returns the flags of a verb for the directories.
func (i *installation) args(verb string, more ...string) []string {
	return append([]string{verb, "--bin-dir", i.bin, "--conf-dir", i.conf, "--state-dir", filepath.Join(i.dir, "state")}, more...)
}

// installing returns an install command that does not wait for masqd.
func (i *installation) installing(ctx context.Context, more ...string) *nstest.Command {
	return i.Node.Command(ctx, built("masq-cni"), i.args("install", append([]string{"--ready-url", ""}, more...)...)...)
}

// install runs install and returns its output.
func (i *installation) install(more ...string) string {
	i.t.Helper()
	out, err := i.installing(soon(i.t), more...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("install: %v\n%s", err, out)
	}
	return string(out)
}

func (i *installation) uninstall() string {
	i.t.Helper()
	out, err := i.Node.Command(soon(i.t), built("masq-cni"), i.args("uninstall", "--force")...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("uninstall: %v\n%s", err, out)
	}
	return string(out)
}

// isSeen checks which source the server sees: the container's own address or the node's.
func (i *installation) isSeen(p *pod, own bool) {
	i.t.Helper()
	want := i.V4.Node
	if own {
		want = p.addr(want)
	}
	i.seenAs(p, i.V4, want)
}

// leftovers lists hidden files in both directories.
func (i *installation) leftovers() (out []string) {
	i.t.Helper()
	for _, dir := range []string{i.bin, i.conf} {
		for _, e := range assert.Must(os.ReadDir(dir))(i.t) {
			if strings.HasPrefix(e.Name(), ".") {
				out = append(out, e.Name())
			}
		}
	}
	return out
}

// TestInstallChain installs masq after a plugin that does not masquerade, and has a runtime
// use the network before install, while masq is installed, and after uninstall.
func TestInstallChain(t *testing.T) {
	i := newInstallation(t)
	before := i.podsText(1400)
	i.write(before)
	pass := func(id string, own bool) {
		t.Helper()
		p := i.attach(id, i.list())
		defer p.detach()
		i.isSeen(p, own)
	}
	pass("before", true) // control
	first := i.install("--plugin-config", `{"nonMasqueradeCIDRs": []}`)
	if !strings.Contains(first, `msg="plugin installed"`) || !strings.Contains(first, `msg="masq inserted"`) {
		t.Errorf("it says\n%s", first)
	}
	pass("with", false)
	if again := i.install("--plugin-config", `{"nonMasqueradeCIDRs": []}`); again != "" {
		t.Errorf("the second install changed something:\n%s", again)
	}
	// The new configuration of masq takes effect.
	if said := i.install("--plugin-config", `{"nonMasqueradeCIDRs": ["198.51.100.0/24", "2001:db8:2::/64"]}`); !strings.Contains(said, `msg="entry of masq replaced"`) {
		t.Errorf("it says\n%s", said)
	}
	pass("direct", true)
	want := fmt.Sprintf("removed: masq from %s\nremoved: %s\n", filepath.Join(i.conf, podsFile), filepath.Join(i.bin, "masq"))
	if said := i.uninstall(); said != want {
		t.Errorf("it says\n%s", said)
	}
	if after := i.read(); after != before {
		t.Errorf("the network differs from the original:\n%s", after)
	}
	for _, path := range []string{filepath.Join(i.bin, "masq"), filepath.Join(i.dir, "state")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	pass("after", true)
	if said := i.uninstall(); said != "nothing to remove\n" {
		t.Errorf("a second time it says\n%s", said)
	}
}

// TestInstallCnitool uses the installed network with cnitool.
func TestInstallCnitool(t *testing.T) {
	i := newInstallation(t)
	i.write(i.podsText(1400))
	i.install()
	tool := i.cnitool("pods", i.masq())
	assert.NoError(t, os.Remove(filepath.Join(tool.dir, "10-net.conflist")))
	assert.NoError(t, os.WriteFile(filepath.Join(tool.dir, podsFile), []byte(i.read()), 0o600))
	p := i.pod("a")
	for _, verb := range []string{"add", "check"} {
		out, err := tool.run(verb, p)
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
		if verb == "add" {
			var result types100.Result
			assert.NoError(t, json.Unmarshal([]byte(out), &result))
			p.result = &result
		}
	}
	i.isSeen(p, false)
	if out, err := tool.run("del", p); err != nil {
		t.Errorf("del: %v\n%s", err, out)
	}
}

// TestInstallSinglePlugin: a .conf file can hold one plugin only, so install writes a
// .conflist with masq that sorts before it.
func TestInstallSinglePlugin(t *testing.T) {
	i := newInstallation(t)
	var l struct{ Plugins []json.RawMessage }
	assert.NoError(t, json.Unmarshal([]byte(i.podsText(1400)), &l))
	single := strings.Replace(string(l.Plugins[0]), "{", `{"cniVersion": "0.4.0", "name": "pods", `, 1)
	path := filepath.Join(i.conf, "10-pods.conf")
	assert.NoError(t, os.WriteFile(path, []byte(single), 0o600))
	for _, step := range []struct {
		id  string
		do  func() string
		own bool
	}{{"before", func() string { return "" }, true}, {"with", func() string { return i.install() }, false}, {"after", i.uninstall, true}} {
		step.do()
		p := i.attach(step.id, i.list())
		i.isSeen(p, step.own)
		p.detach()
	}
	if after := string(assert.Must(os.ReadFile(path))(t)); after != single {
		t.Errorf("the file has become %s", after)
	}
	if names := assert.Must(filepath.Glob(filepath.Join(i.conf, "*")))(t); !slices.Equal(names, []string{path}) {
		t.Errorf("the directory has %v", names)
	}
}

// TestInstallNetwork: install writes a network that consists of masq alone.
func TestInstallNetwork(t *testing.T) {
	i := newInstallation(t)
	assert.NoError(t, os.Remove(i.conf)) // install creates the directory
	args := []string{"--mode", "network", "--pod-cidr", "10.244.1.0/24,fd00:1::/64"}
	said := i.install(args...)
	if !strings.Contains(said, `msg="network of masq written"`) {
		t.Errorf("it says\n%s", said)
	}
	if again := i.install(args...); again != "" {
		t.Errorf("the second install changed something:\n%s", again)
	}
	list := i.list()
	if len(list.Plugins) != 2 || list.Plugins[1].Network.Type != "portmap" || list.CNIVersion != "1.0.0" {
		t.Errorf("the network is %s", list.Bytes)
	}
	p := i.attach("a", list)
	for _, plan := range i.Plans() {
		i.seenAs(p, plan, plan.Node)
	}
	if a := p.addr(i.V4.Server).String(); !strings.HasPrefix(a, "10.244.1.") {
		t.Errorf("its address is %s", a)
	}
	// With a container attached, its lease stays, and the output says so.
	said = i.uninstall()
	for _, want := range []string{"warning: masq made the links of 1 attachment", "has 2 leases of containers", "removed: " + filepath.Join(i.conf, "10-masq.conflist")} {
		if !strings.Contains(said, want) {
			t.Errorf("it says\n%s\nand not %s", said, want)
		}
	}
	i.install(args...)
	p.detach()
	i.uninstall()
	if left := assert.Must(filepath.Glob(filepath.Join(i.dir, "state")))(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestInstallConfined runs install as a container runtime would start it: as root, with
// only the rights of a file's owner.
func TestInstallConfined(t *testing.T) {
	i := newInstallation(t)
	i.write(i.podsText(1400))
	both := filepath.Join(i.dir, "host")
	assert.NoError(t, os.Mkdir(both, 0o755))
	for _, dir := range []*string{&i.bin, &i.conf} {
		to := filepath.Join(both, filepath.Base(*dir))
		assert.NoError(t, os.Rename(*dir, to))
		*dir = to
	}
	i.cni = libcni.NewCNIConfigWithCacheDir([]string{i.bin}, filepath.Join(i.dir, "cache"), nil)
	args := append([]string{
		"--mount", "sh", "-c", confinement, both,
		"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", built("masq-cni"),
	}, i.args("install", "--ready-url", "")...)
	c := i.Node.Command(soon(t), "unshare", args...)
	c.Env = []string{}
	out, err := c.CombinedOutput()
	if err != nil || !i.chained() {
		t.Fatalf("%v\n%s", err, out)
	}
	p := i.attach("a", i.list())
	i.isSeen(p, false)
}

// TestUninstallIsRefused: a network that an administrator built on masq needs the plugin.
func TestUninstallIsRefused(t *testing.T) {
	i := newInstallation(t)
	i.write(`{"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "masq", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}}]}`)
	c := i.installing(soon(t), "--plugin", "masq") // not in PATH
	c.Dir = os.Getenv("MASQ_BIN")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	out, err := i.Node.Command(soon(t), built("masq-cni"), i.args("uninstall")...).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("masq is in a network that masq-cni install did not write: "+filepath.Join(i.conf, podsFile))) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(i.bin, "masq")); err != nil {
		t.Error(err)
	}
}
