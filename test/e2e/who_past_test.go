package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// past is a node whose masqd writes a NAT log.
type past struct {
	*world
	d   *daemon
	log string
}

func newPast(t *testing.T) *past {
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net.netfilter.nf_conntrack_timestamp", "1"))
	p := &past{world: w, log: filepath.Join(w.dir, "nat-log")}
	p.d = w.daemon("--nat-log", p.log)
	return p
}

// was returns the text and exit code of a question about a time.
func (p *past) was(from netip.AddrPort, at time.Time) (string, int) {
	p.t.Helper()
	return p.whoText("-o", "wide", "--nat-log", p.log, "--at", at.Format(time.RFC3339Nano), from.String())
}

// talks has a container send to the server, and returns the source that the server saw, and
// the time.
func (p *past) talks(c *pod) (netip.AddrPort, time.Time) {
	p.t.Helper()
	server := assert.Must(p.Server.ServeTCP(at(p.V4.Server, 80)))(p.t)
	defer func() { _ = server.Close() }()
	seen := assert.Must(c.Who(soon(p.t), netip.AddrPort{}, server.Addr()))(p.t)
	return seen, time.Now()
}

// tells waits until the log names the pod, and returns the answer.
func (p *past) tells(from netip.AddrPort, at time.Time, pod string) string {
	p.t.Helper()
	var out string
	until(p.t, "the log has "+from.String(), func() bool {
		var exit int
		out, exit = p.was(from, at)
		return exit == 0 && strings.Contains(out, "\n"+pod+" ")
	})
	return out
}

// TestWhoICMPFromLog: two containers ping with one ID, and the log distinguishes them by the IDs
// that the server saw.
func TestWhoICMPFromLog(t *testing.T) {
	p := newPast(t)
	a, b := p.attachNamed("ns", "a", p.masq()), p.attachNamed("ns", "b", p.masq())
	for _, plan := range p.Plans() {
		arrived := assert.Must(p.Server.Capture("eth0", isPing))(t)
		for i, c := range []*pod{a, b} {
			assert.NoError(t, c.SendRaw(nstest.EchoPacket(c.addr(plan.Server), plan.Server, 4711, uint16(i+1), nil)))
		}
		all := assert.Must(arrived.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == 2 }))(t)
		now := time.Now()
		p.nodeRun("conntrack", "-D", "-d", plan.Server.String())
		for _, q := range all {
			name := []string{"a", "b"}[q.ICMPRest&0xffff-1]
			out := p.tells(at(plan.Node, uint16(q.ICMPRest>>16)), now, "ns/"+name)
			if strings.Count(out, "\nns/") != 1 || !strings.Contains(out, " id 4711 ") || !strings.Contains(out, fmt.Sprint(" id ", q.ICMPRest>>16)) {
				t.Errorf("%s is\n%s", name, out)
			}
		}
		// The control: an ID that was not used.
		if out, exit := p.was(at(plan.Node, uint16(all[0].ICMPRest>>16)^uint16(all[1].ICMPRest>>16)^1), now); exit != 1 {
			t.Errorf("%d\n%s", exit, out)
		}
	}
	p.d.end()
}

// TestWhoAfterStalledDaemon: events that were dropped while masqd was stopped are reported
// as missing, and records from before and after are found.
func TestWhoAfterStalledDaemon(t *testing.T) {
	p := newPast(t)
	c := p.attachNamed("ns", "c", p.masq())
	before, began := p.talks(c)
	if out := p.tells(before, began, "ns/c"); strings.Contains(out, "missing") {
		t.Errorf("before anything is missing:\n%s", out)
	}
	assert.NoError(t, p.d.Suspend())
	p.fill(150_000)
	stalled := time.Now()
	assert.NoError(t, p.d.Resume())
	until(t, "the loss is counted", func() bool { n := p.d.metric("masq_nat_log_lost_total"); return n != "" && n != "0" })
	until(t, "masqd has received the remaining events", func() bool {
		for line := range strings.Lines(p.nodeRun("cat", "/proc/net/netlink")) {
			if f := strings.Fields(line); f[4] != "0" && f[4] != "Rmem" {
				return false
			}
		}
		return true
	})
	after, then := p.talks(c)
	p.tells(after, then, "ns/c")
	if out, exit := p.was(before, stalled); exit != 0 || !strings.Contains(out, " records are missing\n") {
		t.Errorf("%d\n%s", exit, out)
	}
	// An unknown flow gets the same warning: its record may be missing.
	if out, exit := p.was(at(p.V4.Node, 1), stalled); exit != 1 || !strings.Contains(out, " records are missing\n") {
		t.Errorf("%d\n%s", exit, out)
	}
	p.d.end()
}

// TestWhoAfterKilledDaemon: the time without a writer is reported, and records from before
// are found.
func TestWhoAfterKilledDaemon(t *testing.T) {
	p := newPast(t)
	c := p.attachNamed("ns", "c", p.masq())
	before, began := p.talks(c)
	p.tells(before, began, "ns/c")
	assert.NoError(t, p.d.Process.Kill())
	_ = p.d.Wait() // it was killed
	unseen, dead := p.talks(c)
	p.d = p.daemon("--nat-log", p.log)
	after, then := p.talks(c)
	if out := p.tells(after, then, "ns/c"); strings.Contains(out, "no records were written") {
		t.Errorf("after it was killed:\n%s", out)
	}
	p.tells(before, began, "ns/c")
	if out, exit := p.was(unseen, dead); exit != 1 || !strings.Contains(out, " no records were written\n") {
		t.Errorf("%d\n%s", exit, out)
	}
	p.d.end()
}

// newSmallDisk is a node whose masqd writes a NAT log to a disk of 256 KiB. The disk ends
// with the daemon's mount namespace.
func newSmallDisk(t *testing.T) *past {
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net.netfilter.nf_conntrack_timestamp", "1"))
	dir := filepath.Join(w.dir, "nat-log")
	assert.NoError(t, os.Mkdir(dir, 0o700))
	d := &daemon{w: w, log: filepath.Join(w.dir, "masqd.log")}
	out := assert.Must(os.Create(d.log))(t)
	defer func() { _ = out.Close() }()
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs -o size=256k none "$0" && exec "$@"`, dir, built("masqd")}, w.served("--nat-log", dir)...)
	d.Command = w.Node.Command(context.WithoutCancel(t.Context()), "unshare", args...)
	d.Stderr = out
	assert.NoError(t, d.Start())
	until(t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == 200 })
	return &past{world: w, d: d, log: fmt.Sprintf("/proc/%d/root%s", d.Process.Pid, dir)}
}

// TestWhoAfterFullDisk: masqd reports that it cannot write, continues its other work, and
// has lost nothing when there is room again.
func TestWhoAfterFullDisk(t *testing.T) {
	p := newSmallDisk(t)
	w, d := p.world, p.d
	c := w.attachNamed("ns", "c", w.masq())
	before, began := p.talks(c)
	p.tells(before, began, "ns/c")

	ballast := filepath.Join(p.log, "ballast")
	f := assert.Must(os.Create(ballast))(t)
	for err := error(nil); err == nil; {
		_, err = f.Write(make([]byte, 512))
	}
	assert.NoError(t, f.Close())
	// Records up to here may fit into space that was reserved before.
	var full netip.AddrPort
	var then time.Time
	until(t, "masqd reports that its log cannot be written", func() bool {
		full, then = p.talks(c)
		_, ready := d.get("/readyz")
		return strings.Contains(ready, "NAT log: ") && strings.Contains(ready, "no space left on device") && d.metric("masq_nat_log_stopped") == "1"
	})
	w.nft("flush ruleset")
	until(t, "the rules are restored", func() bool { return w.command(w.Node, "inspect", "drift").Run() == nil })
	if out, exit := p.was(before, began); exit != 0 || !strings.Contains(out, "\nns/c ") {
		t.Errorf("records from before cannot be read: %d\n%s", exit, out)
	}
	assert.NoError(t, os.Remove(ballast))
	p.tells(full, then, "ns/c")
	until(t, "masqd no longer reports that its log cannot be written", func() bool {
		_, ready := d.get("/readyz")
		return !strings.Contains(ready, "NAT log") && d.metric("masq_nat_log_stopped") == "0"
	})
	if n := d.metric("masq_nat_log_lost_total"); n != "0" {
		t.Errorf("%s records were lost", n)
	}
	d.end()
}
