package e2e

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// writeConfig replaces the node's configuration as the kubelet does: the file is a link
// through ..data, and ..data is replaced.
func (w *world) writeConfig(text string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	version, err := os.MkdirTemp(dir, "..version")
	if err != nil {
		w.t.Fatal(err)
	}
	name := filepath.Join(dir, "ip-masq-agent")
	for _, err := range []error{
		os.WriteFile(filepath.Join(version, "ip-masq-agent"), []byte(text), 0o600),
		os.Symlink(filepath.Base(version), filepath.Join(dir, "..tmp")),
		os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")),
	} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := os.Lstat(name); err != nil {
		if err := os.Symlink("..data/ip-masq-agent", name); err != nil {
			w.t.Fatal(err)
		}
	}
	return name
}

// udpSource returns the source of a pod's datagram as the server sees it.
func (w *world) udpSource(p *pod, word string) netip.Addr {
	w.t.Helper()
	c, err := w.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP })
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	conn, err := p.Dial(soon(w.t), "udp", netip.AddrPort{}, netip.AddrPortFrom(w.V4.Server, 9))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(word)); err != nil {
		w.t.Fatal(err)
	}
	return w.lastFrom(c, word).Addr()
}

func TestNodePolicyIsLive(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	server := netip.PrefixFrom(w.V4.Server, 24).Masked().String()
	file := w.writeConfig("nonMasqueradeCIDRs: [" + server + "]\nresyncInterval: 60s\n")
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	named := w.attach("named", w.namedConflist("named", "1.0.0", w.masq().With(keys{
		"nonMasqueradeCIDRs": []string{server},
		"ipam":               keys{"type": "host-local", "dataDir": filepath.Join(w.dir, "leases"), "subnet": "10.89.0.0/16"},
	})))
	// The control: without masqd the file has no effect.
	if from := w.udpSource(a, "control"); from != w.V4.Node {
		t.Fatalf("without masqd the server sees %s", from)
	}
	d := w.daemon("--config", file)
	private := a.addr(w.V4.Node)
	until(t, "the server's network is direct", func() bool { return w.udpSource(a, "direct") == private })
	// An ADD while masqd runs gives the policy that masqd would.
	b := w.attach("b", list)
	if from := w.udpSource(b, "later"); from != b.addr(w.V4.Node) {
		t.Errorf("a later attachment leaves as %s", from)
	}
	if err := b.tryCheck(list); err != nil {
		t.Error(describe(err))
	}
	until(t, "masqd counts the later attachment", func() bool { return d.metric("masq_attachments") == "3" })
	w.writeConfig(`{"nonMasqueradeCIDRs": []}`)
	until(t, "nothing is direct", func() bool { return w.udpSource(a, "masqueraded") == w.V4.Node })
	if from := w.udpSource(named, "named"); from == w.V4.Node {
		t.Error("the node's policy overrode a network's own policy")
	}
	if n := d.metric("masq_attachments"); n != "3" {
		t.Errorf("%s attachments, before 3", n)
	}

	// A faulty file changes nothing and is reported.
	w.writeConfig("nonMasqueradeCIDRs: [10.0.0.1/8]\n")
	until(t, "the fault is reported", func() bool { return d.metric("masq_configuration_valid") == "0" })
	code, text := d.get("/readyz")
	if code != http.StatusOK || !strings.Contains(text, "10.0.0.0/8") {
		t.Errorf("readyz: %d %s", code, text)
	}
	if from := w.udpSource(a, "faulty"); from != w.V4.Node {
		t.Errorf("with a faulty file the server sees %s", from)
	}
	w.nft("delete table inet masq")
	until(t, "the table is repaired", func() bool { return a.tryCheck(list) == nil })
	w.writeConfig("nonMasqueradeCIDRs: [" + server + "]\n")
	until(t, "the valid file is active", func() bool { return w.udpSource(a, "good") == private })
}

// The use case of ip-masq-agent: pods of another plugin, and only the daemon.
func TestSourcesOfAnotherPlugin(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	ipam := w.masq()["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}, keys{"dst": "::/0"}}})
	ptp := keys{"type": "ptp", "ipMasq": false, "ipam": ipam}
	a := w.attach("a", w.conflist("1.0.0", ptp))
	if from := w.udpSource(a, "control"); from != a.addr(w.V4.Node) {
		t.Fatalf("without masqd the server sees %s", from)
	}
	file := w.writeConfig("nonMasqueradeCIDRs: [10.0.0.0/8]\n")
	w.daemon("--config", file, "--source-cidrs", "10.88.0.0/16,fd00:88::/64", "--masq-chain", "IP-MASQ")
	if from := w.udpSource(a, "masqueraded"); from != w.V4.Node {
		t.Errorf("the server sees %s", from)
	}
	for _, plan := range w.Plans() {
		if _, err := a.Ping(soon(t), plan.Server, nstest.PingOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func TestUninstall(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.nft("add table ip other { chain c { accept; }; }")
	before := w.nodeRun("nft", "list", "ruleset")
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	out := w.nodeRun(built("masq-cni"), "uninstall", "--force", "--state-dir", filepath.Join(w.dir, "state"))
	if !strings.Contains(out, "1 record\n") {
		t.Errorf("the output is %q", out)
	}
	if after := w.nodeRun("nft", "list", "ruleset"); after != before {
		t.Errorf("left:\n%s", after)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "state")); err == nil {
		t.Error("the state directory still exists")
	}
	a.detach()
}
