package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// confinement makes all files read-only for a program, /proc/sys among them, except one
// directory. Mounted network namespaces have no files and are left out.
const confinement = `set -e
mount --bind "$0" "$0"
for at in $(grep -v ' - nsfs ' /proc/self/mountinfo | cut -d ' ' -f 5); do
	[ "$at" = "$0" ] || mount -n -o remount,bind,ro "$(printf %b "$at")"
done
exec "$@"`

// confined returns a masqd that runs as root with these capabilities alone, on a
// read-only root file system and with an empty environment: the least that a container
// runtime may give it.
func (w *world) confined(ctx context.Context, capabilities string, args ...string) *nstest.Command {
	w.t.Helper()
	state := filepath.Join(w.dir, "state")
	assert.NoError(w.t, os.MkdirAll(state, 0o700))
	all := append([]string{
		"--mount", "sh", "-c", confinement, state,
		"setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities, "--ambient-caps", capabilities, "--no-new-privs",
		built("masqd"),
	}, w.served(args...)...)
	c := w.Node.Command(ctx, "unshare", all...)
	c.Env = []string{}
	return c
}

// status returns a line of /proc/PID/status.
func (d *daemon) status(name string) string {
	d.w.t.Helper()
	text := assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Process.Pid)))(d.w.t)
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	d.w.t.Fatalf("no %s in\n%s", name, text)
	return ""
}

func TestConfinedDaemon(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	server := netip.PrefixFrom(w.V4.Server, 24).Masked().String()
	file := w.writeConfig("nonMasqueradeCIDRs: []\n")
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	log := filepath.Join(w.dir, "masqd.log")
	d := &daemon{w: w, log: log, Command: w.confined(context.WithoutCancel(t.Context()), "-all,+net_admin", "--config", file)}
	d.Stderr = assert.Must(os.Create(log))(t)
	assert.NoError(t, d.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("masqd said:\n%s", assert.Must(os.ReadFile(log))(t))
		}
	})
	until(t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	d.isConfined()

	for _, change := range []string{
		"flush ruleset",
		fmt.Sprintf("delete element inet masq policy4 { %s }", a.addr(w.V4.Node)),
	} {
		// The control: while masqd is stopped the rules are not repaired.
		assert.NoError(t, d.Suspend())
		w.nft("%s", change)
		if a.tryCheck(list) == nil {
			t.Errorf("%s: CHECK succeeds", change)
		}
		assert.NoError(t, d.Resume())
		until(t, "CHECK passes after "+change, func() bool { return a.tryCheck(list) == nil })
		for _, plan := range w.Plans() {
			w.seenAs(a, plan, plan.Node)
		}
	}

	// A flow that began untranslated is deleted.
	echo := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 7)))(t)
	wire := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP }))(t)
	w.nft("add table inet other { chain c { type filter hook forward priority 0; ct state established accept; }; }")
	deleted := d.metric("masq_untranslated_flows_total")
	assert.NoError(t, d.Suspend())
	w.nft("delete table inet masq")
	during := assert.Must(a.Dial(soon(t), "udp", netip.AddrPort{}, echo.Addr()))(t)
	defer during.Close()
	send(t, during, "gap")
	if from := w.lastFrom(wire, "gap"); from.Addr() != a.addr(w.V4.Node) {
		t.Fatalf("without rules the server sees %s, so the test proves nothing", from)
	}
	assert.NoError(t, d.Resume())
	until(t, "the untranslated flow is deleted", func() bool { return d.metric("masq_untranslated_flows_total") != deleted })
	say(t, during, "after")
	if from := w.lastFrom(wire, "after"); from.Addr() != w.V4.Node {
		t.Errorf("after the repair the server sees %s", from)
	}

	// The configuration is read again when it changes.
	own := a.addr(w.V4.Node)
	if from := w.udpSource(a, "masqueraded"); from != w.V4.Node {
		t.Errorf("before the change the server sees %s", from)
	}
	w.writeConfig("nonMasqueradeCIDRs: [" + server + "]\n")
	until(t, "the server's network is direct", func() bool { return w.udpSource(a, "direct") == own })
	if got := d.metric("masq_sync_failures_total"); got != "0" {
		t.Errorf("%s syncs failed", got)
	}
	d.end()
}

// isConfined checks that the daemon has exactly the privileges that the test gives it.
func (d *daemon) isConfined() {
	t := d.w.t
	t.Helper()
	want := fmt.Sprintf("%016x", 1<<unix.CAP_NET_ADMIN)
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if got := d.status(set); got != want {
			t.Errorf("%s is %s, want %s", set, got, want)
		}
	}
	if got := d.status("NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs is %s", got)
	}
	if uid := d.status("Uid"); uid != "0\t0\t0\t0" {
		t.Errorf("it runs as %q", uid)
	}
	for name := range strings.SplitSeq(string(assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.Process.Pid)))(t)), "\x00") {
		if !regexp.MustCompile(`^(PWD=.*|SHLVL=.*|_=.*|OLDPWD=.*)?$`).MatchString(name) {
			t.Errorf("its environment has %s", name)
		}
	}
	// A program with every capability cannot write there either.
	for path, refused := range map[string]bool{
		"/proc/sys/net/ipv4/ip_forward": true, "/etc/masq-cni-test": true, os.TempDir() + "/masq-cni-test": true,
		filepath.Join(d.w.dir, "state", "test"): false,
	} {
		out, err := d.w.Node.Command(soon(t), "nsenter", "--mount", "--target", fmt.Sprint(d.Process.Pid),
			"sh", "-c", `echo 1 >"$0" && rm "$0"`, path).CombinedOutput()
		if (err != nil) != refused || refused && !strings.Contains(string(out), "Read-only file system") {
			t.Errorf("write to %s: %v: %s", path, err, out)
		}
	}
}

// The control: without CAP_NET_ADMIN masqd ends and names the capability.
func TestDaemonNeedsNetAdmin(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	out, err := w.confined(soon(t), "-all").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "CAP_NET_ADMIN") {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "level=INFO msg=started") {
		t.Errorf("it started: %s", out)
	}
}
