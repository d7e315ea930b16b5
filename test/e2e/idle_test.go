package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	// restTime is how long masqd is observed while idle.
	restTime = 10 * time.Second
	// restBound is the maximum number of context switches in that time. Go's sysmon thread
	// sleeps for a minute when all threads are idle (forcegcperiod in proc.go), and then wakes
	// a few others.
	restBound = 10
)

// switches is the number of context switches of all threads of masqd.
func (d *daemon) switches() (n int) {
	d.w.t.Helper()
	for _, tid := range threads(d.Process.Pid) {
		text := assert.Must(os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", d.Process.Pid, tid)))(d.w.t)
		for line := range strings.Lines(string(text)) {
			name, v, _ := strings.Cut(line, ":")
			if strings.HasSuffix(name, "_ctxt_switches") {
				n += assert.Must(strconv.Atoi(strings.TrimSpace(v)))(d.w.t)
			}
		}
	}
	return n
}

// settles waits until masqd has not run for a while. One second after a sync it returns
// memory to the kernel.
func (d *daemon) settles() {
	d.w.t.Helper()
	const still = 3 * time.Second
	was, since := d.switches(), time.Now()
	until(d.w.t, "masqd is idle", func() bool {
		if n := d.switches(); n != was {
			was, since = n, time.Now()
		}
		return time.Since(since) > still
	})
}

// watch returns the context switches and system calls of masqd during a time.
func (d *daemon) watch(s *syscalls, while time.Duration, work func(end <-chan struct{})) (switches int, calls []string, sent []netlinkMessage) {
	d.w.t.Helper()
	_, _ = s.take()
	before := d.switches()
	end := make(chan struct{})
	time.AfterFunc(while, func() { close(end) })
	work(end)
	<-end // the observation lasts for a fixed time
	switches = d.switches() - before
	calls, sent = s.take()
	return switches, calls, sent
}

// kinds counts equal values.
func kinds[T any](all []T) string {
	n := map[string]int{}
	for _, one := range all {
		n[fmt.Sprint(one)]++
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprintf("%d of %s", n[name], name))
	}
	return strings.Join(out, ", ")
}

func nothing(<-chan struct{}) {}

// others does work that does not concern masqd: changes to another program's table,
// addresses that routers announce again, and traffic.
func (w *world) others(p *pod) func(end <-chan struct{}) {
	w.nft("add table inet busy { set s { type ipv4_addr; }; chain c { type filter hook forward priority 0; }; }")
	return func(end <-chan struct{}) {
		pace := time.NewTicker(200 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			w.nft("add element inet busy s { 10.7.%d.%d }; add rule inet busy c counter", i/256, i%256)
			w.nodeRun("ip", "address", "change", w.V6.Node.String()+"/64", "dev", "uplink", "valid_lft", fmt.Sprint(1000+i), "preferred_lft", "1000")
			assert.Must(p.Ping(soon(w.t), w.V4.Server, nstest.PingOptions{}))(w.t)
			select {
			case <-end:
				return
			case <-pace.C:
			}
		}
	}
}

// TestDaemonRests: with nothing to do masqd hardly runs and sends no netlink requests, also
// while other programs change their own objects. A resync reads no rules if the kernel is
// unchanged.
func TestDaemonRests(t *testing.T) {
	const attachments = 100
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	var p *pod
	for i := range attachments {
		p = w.attach(fmt.Sprintf("c%d", i), list)
	}
	none := filepath.Join(w.dir, "none")
	start := func(w *world, resync string) (*daemon, *syscalls) {
		w.t.Helper()
		d := w.daemon("--config", none, "--resync-interval", resync, "--doctor-interval", "0")
		until(w.t, "masqd knows all attachments", func() bool { return d.metric("masq_attachments") == fmt.Sprint(attachments) })
		return d, d.syscalls()
	}
	// dirty is a change after which masqd must read the rules.
	dirty := func(<-chan struct{}) { w.nft("insert rule inet masq postrouting counter accept") }

	t.Run("at rest", func(t *testing.T) {
		w := w.in(t)
		d, s := start(w, "1h")
		d.settles()
		n, calls, sent := d.watch(s, restTime, nothing)
		t.Logf("%d switches, system calls: %s", n, kinds(calls))
		if n > restBound {
			t.Errorf("in %s it ran %d times, more than %d", restTime, n, restBound)
		}
		if len(sent) > 0 {
			t.Errorf("in %s it sent %s", restTime, kinds(sent))
		}

		n, calls, sent = d.watch(s, restTime/2, w.others(p))
		t.Logf("others at work: %d switches, system calls: %s", n, kinds(calls))
		if len(sent) > 0 {
			t.Errorf("others at work: it sent %s", kinds(sent))
		}

		// The control: a change that concerns masqd is observed.
		n, _, sent = d.watch(s, restTime/5, dirty)
		if n <= restBound || !slices.ContainsFunc(sent, netlinkMessage.dump) {
			t.Errorf("for a repair it ran %d times and sent %s", n, kinds(sent))
		}
		assert.NoError(t, s.end())
		d.end()
	})
	t.Run("resync", func(t *testing.T) {
		w := w.in(t)
		d, s := start(w, "1s")
		d.syncs()
		n, _, sent := d.watch(s, restTime/2, nothing)
		t.Logf("%d switches, messages: %s", n, kinds(sent))
		syncs := 0
		for _, m := range sent {
			switch {
			case m.typ == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN && !m.dump():
				syncs++
			case m.nftables(), m.typ>>8 == unix.NFNL_SUBSYS_CTNETLINK:
				t.Errorf("without changes a sync requests %s", m)
			}
		}
		if syncs < 3 {
			t.Errorf("%d syncs, so the test proves nothing", syncs)
		}
		if n <= restBound { // control of the idle count
			t.Errorf("%d syncs in %d switches", syncs, n)
		}

		_, _, sent = d.watch(s, restTime/5, dirty)
		rules := func(m netlinkMessage) bool { return m.nftables() && m.dump() }
		if !slices.ContainsFunc(sent, rules) { // control
			t.Errorf("a repair requests %s", kinds(sent))
		}
		assert.NoError(t, s.end())
		d.end()
	})
}
