package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// daemon is a masqd that runs in the node.
type daemon struct {
	*nstest.Command
	w   *world
	log string
}

const daemonAt = "127.0.0.1:9468"

// daemon starts masqd and waits until it is ready.
func (w *world) daemon(args ...string) *daemon {
	w.t.Helper()
	d := w.launch(w.served(args...)...)
	until(w.t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	return d
}

// served returns flags for a masqd with the world's records and an HTTP endpoint.
func (w *world) served(more ...string) []string {
	return append([]string{"--state-dir", filepath.Join(w.dir, "state"), "--listen", daemonAt}, more...)
}

// launch starts masqd with exactly these flags.
func (w *world) launch(args ...string) *daemon {
	w.t.Helper()
	d := &daemon{w: w, log: filepath.Join(w.dir, "masqd.log")}
	out := assert.Must(os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(w.t)
	defer func() { _ = out.Close() }()
	d.Command = w.Node.Command(context.WithoutCancel(w.t.Context()), built("masqd"), args...)
	d.Stderr = out
	assert.NoError(w.t, d.Start())
	w.t.Cleanup(func() {
		if w.t.Failed() {
			text, _ := os.ReadFile(d.log)
			w.t.Logf("masqd said:\n%s", text)
		}
	})
	return d
}

// get sends a request to masqd's HTTP endpoint, inside the node.
func (d *daemon) get(path string) (int, string) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.w.Node.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(daemonAt))
		},
	}}
	r, err := c.Get("http://" + daemonAt + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

// metric returns the value of a metric without labels.
func (d *daemon) metric(name string) string {
	_, text := d.get("/metrics")
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// until waits for a condition.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("timeout: waited until %s", what)
		case <-tick.C:
		}
	}
}

func TestDaemonRestoresDeletedObjects(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	a, b := w.attach("a", list), w.attach("b", list)
	for _, change := range []string{
		"flush ruleset",
		"delete table inet masq",
		"flush chain inet masq postrouting",
		"insert rule inet masq postrouting accept",
		fmt.Sprintf("delete element inet masq policy4 { %s }", a.addr(w.V4.Node)),
		"add table inet masq { flags dormant; }",
		"chain inet masq forward { policy drop; }",
		"add element inet masq invalid4 { 10.1.2.3 }",
	} {
		w.nft("%s", change)
		// The control: without masqd the rules are not repaired.
		if err := errors.Join(a.tryCheck(list), b.tryCheck(list)); err == nil && !strings.Contains(change, "10.1.2.3") {
			t.Errorf("%s: CHECK succeeds", change)
		}
		d := w.daemon()
		before := w.nodeRun("nft", "list", "table", "inet", "masq")
		w.nft("%s", change)
		until(t, "CHECK passes after "+change, func() bool {
			return a.tryCheck(list) == nil && b.tryCheck(list) == nil
		})
		until(t, "the table is as it was before "+change, func() bool {
			return sameRules(w.nodeRun("nft", "list", "table", "inet", "masq"), before)
		})
		if _, err := a.Ping(soon(t), w.V4.Server, nstest.PingOptions{}); err != nil {
			t.Errorf("after %s: %v", change, err)
		}
		d.end()
	}
}

// sameRules compares listings without the order of elements and without counters.
func sameRules(a, b string) bool {
	words := func(s string) []string {
		out := strings.Fields(s)
		for i, w := range out {
			if i > 0 && (out[i-1] == "packets" || out[i-1] == "bytes") {
				w = "n"
			}
			out[i] = strings.Trim(w, ",")
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(words(a), words(b))
}

// end sends SIGTERM and waits until masqd has exited, without an error.
func (d *daemon) end() {
	d.w.t.Helper()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		d.w.t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		d.w.t.Errorf("masqd ended with %v", err)
	}
}

func TestDaemonLeavesTheRules(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	w.daemon().end()
	if err := a.tryCheck(list); err != nil {
		t.Error(describe(err))
	}
}

func TestSecondDaemonRefuses(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.daemon()
	out, err := w.Node.Command(soon(t), built("masqd"), "--state-dir", filepath.Join(w.dir, "state"), "--listen", "").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another masqd is running on") {
		t.Errorf("got %v: %s", err, out)
	}
}

// A flow that begins while the rules are missing is translated after the repair. A flow
// that was translated before continues unchanged.
func TestDaemonDeletesUntranslatedFlows(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	a := w.attach("a", list)
	server, err := w.Server.ServeUDP(netip.AddrPortFrom(w.V4.Server, 7))
	if err != nil {
		t.Fatal(err)
	}
	wire, err := w.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP })
	if err != nil {
		t.Fatal(err)
	}
	// Another program tracks connections too, as kube-proxy does. Without such a rule, flows
	// that begin while our rules are missing would not be tracked or confirmed.
	w.nft("add table inet other { chain c { type filter hook forward priority 0; ct state established accept; }; }")
	before, err := a.Dial(soon(t), "udp", netip.AddrPort{}, server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	say(t, before, "before")
	seenBefore := w.lastFrom(wire, "before")

	for _, repaired := range []bool{false, true} {
		var d *daemon
		if repaired {
			d = w.daemon()
			if err := d.Suspend(); err != nil {
				t.Fatal(err)
			}
		}
		w.nft("delete table inet masq")
		during, err := a.Dial(soon(t), "udp", netip.AddrPort{}, server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = during.Close() }()
		send(t, during, "gap")
		if from := w.lastFrom(wire, "gap"); from.Addr() != a.addr(w.V4.Node) {
			t.Fatalf("without rules the server sees %s, so the test proves nothing", from)
		}
		if !repaired {
			// The control: restored rules alone do not translate the flow.
			if err := w.rulesWithoutFlows(); err != nil {
				t.Fatal(describe(err))
			}
			send(t, during, "still")
			if from := w.lastFrom(wire, "still"); from.Addr() != a.addr(w.V4.Node) {
				t.Errorf("without deletion the server sees %s", from)
			}
			continue
		}
		if err := d.Resume(); err != nil {
			t.Fatal(err)
		}
		// This flow, and the control's.
		until(t, "the untranslated flows are deleted", func() bool { return d.metric("masq_untranslated_flows_total") == "2" })
		say(t, during, "after")
		if from := w.lastFrom(wire, "after"); from.Addr() != w.V4.Node {
			t.Errorf("after the repair the server sees %s", from)
		}
		say(t, before, "on")
		if from := w.lastFrom(wire, "on"); from != seenBefore {
			t.Errorf("a flow that was translated before the flush continued from %s, not %s", from, seenBefore)
		}
	}
}

// rulesWithoutFlows has an ADD and a DEL of another pod restore the rules: the plugin
// restores the table and deletes no flow.
func (w *world) rulesWithoutFlows() error {
	w.t.Helper()
	other := w.pod("other")
	conf := w.conflist("1.0.0", w.masq())
	if err := other.tryAdd(conf); err != nil {
		return err
	}
	return other.tryDel(conf)
}

// say sends a datagram and waits for its echo.
func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	send(t, c, word)
	deadline, _ := soon(t).Deadline()
	if err := c.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("no echo of %s: %v", word, err)
		}
		if string(b[:n]) == word {
			return
		}
	}
}

func send(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
}

// lastFrom returns the source of the last datagram with this word that the server received.
func (w *world) lastFrom(c *nstest.Capture, word string) netip.AddrPort {
	w.t.Helper()
	p, err := c.WaitFor(soon(w.t), func(p nstest.Packet) bool { return string(p.Payload) == word })
	if err != nil {
		w.t.Fatalf("the server did not receive %q: %v", word, err)
	}
	return p.Source()
}

func TestDaemonReadiness(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon()
	code, text := d.get("/readyz")
	var got struct {
		Ready   bool
		Reasons []string
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != http.StatusOK || !got.Ready {
		t.Errorf("%d %s, %v", code, text, err)
	}
	if code, _ := d.get("/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("pprof answers %d although it was not enabled", code)
	}
}

// A container that ends without DEL is removed after the grace period. Its lease stays: it
// is released by GC.
func TestDaemonRemovesEndedContainers(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.0.0", w.masq())
	alive, dead := w.attach("alive", list), w.attach("dead", list)
	address := dead.addr(w.V4.Node).String()
	w.daemon("--resync-interval", "1s", "--sweep-grace", "1s")
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the dead container's element is removed", func() bool {
		return !strings.Contains(w.nodeRun("nft", "list", "map", "inet", "masq", "policy4"), address+" ")
	})
	if err := alive.tryCheck(list); err != nil {
		t.Error(describe(err))
	}
	if _, err := os.Stat(filepath.Join(w.dir, "leases", "net", address)); err != nil {
		t.Errorf("the lease: %v", err)
	}
}

// masqd sends the notifications that systemd expects.
func TestDaemonNotifiesSystemd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	path := w.socketPath("notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	d := w.daemon()
	hear := func(word string) {
		t.Helper()
		deadline, _ := soon(t).Deadline()
		if err := l.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		for {
			n, err := l.Read(b)
			if err != nil {
				t.Fatalf("no notification %s: %v", word, err)
			}
			if strings.Contains(string(b[:n]), word) {
				return
			}
		}
	}
	hear("READY=1")
	d.end()
	hear("STOPPING=1")
}
