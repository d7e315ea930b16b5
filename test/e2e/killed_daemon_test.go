package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// churnTime is how long containers come and go while programs are killed. MASQ_CHURN
// shortens it, for work on the test.
const churnTime = 2 * time.Minute

// long bounds waits on a machine with other load.
const long = 2 * time.Minute

// comes waits for a condition and reports whether it became true.
func comes(f func() bool) bool {
	end := time.Now().Add(long)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}

// eventually is until with a longer timeout.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	if !comes(f) {
		t.Fatalf("timeout: waited %s until %s", long, what)
	}
}

// killed starts and kills masqd repeatedly until the context ends, and meanwhile deletes
// rules. It returns how often each happened.
func (w *world) killed(ctx context.Context, rnd *rand.Rand) (kills, offences int) {
	program := built("masqd")
	out := assert.Must(os.OpenFile(filepath.Join(w.dir, "masqd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(w.t)
	defer out.Close()
	pause := func(most time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(upTo(rnd, most)): // a random moment is intended
		}
	}
	for ctx.Err() == nil {
		d := w.Node.Command(context.WithoutCancel(ctx), program, w.daemonArgs()...)
		d.Stderr = out
		if err := d.Start(); err != nil {
			w.t.Errorf("start masqd: %v", err)
			return kills, offences
		}
		for range rnd.IntN(4) {
			pause(400 * time.Millisecond)
			w.offend(ctx, rnd)
			offences++
		}
		// masqd may be killed during a repair, its start, or a cleanup, or while it is idle.
		pause([]time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond, 4 * time.Second}[rnd.IntN(4)])
		if err := ignoreDone(d.Process.Kill()); err != nil {
			w.t.Errorf("kill masqd: %v", err)
		}
		_ = d.Wait() // it was killed
		if s, ok := d.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() {
			w.t.Errorf("masqd ended without a signal: %v", d.ProcessState)
			return kills, offences
		}
		kills++
	}
	return kills, offences
}

func upTo(rnd *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rnd.Int64N(int64(most)))
}

// offend deletes an object of the table. The object may be missing already.
func (w *world) offend(ctx context.Context, rnd *rand.Rand) {
	offences := []string{
		"flush ruleset", "delete table inet masq", "flush chain inet masq postrouting",
		"flush map inet masq policy4", "flush set inet masq sources4", "insert rule inet masq postrouting accept",
		"add element inet masq invalid4 { 10.1.2.3 }", "chain inet masq forward { policy drop; }",
	}
	one := offences[rnd.IntN(len(offences))]
	if rnd.IntN(3) == 0 {
		one = fmt.Sprintf("delete element inet masq policy4 { 10.9%d.0.%d }", rnd.IntN(4), 2+rnd.IntN(250))
	}
	_ = w.Node.Command(ctx, "nft", one).Run()
}

func (w *world) daemonArgs() []string {
	return w.served("--config", filepath.Join(w.dir, "none"), "--resync-interval", "1s", "--sweep-grace", "1s")
}

// TestKilledUnderChurn: eight workers add and delete containers for two minutes. A third of
// the plugin calls are killed, masqd is killed and restarted, and rules are deleted. At the
// end the node has exactly the objects of the live containers.
func TestKilledUnderChurn(t *testing.T) {
	const workers = 8
	during := churnTime
	if s := os.Getenv("MASQ_CHURN"); s != "" {
		during = assert.Must(time.ParseDuration(s))(t)
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %s", seed, during)
	w := newWorld(t, nstest.Uplink{})
	w.daemon(w.daemonArgs()...).end() // so that masqd's own files exist from the start
	before := w.traces()
	var confs []keys
	for i, name := range []string{"plain", "ftp", "narrow", "named"} {
		confs = append(confs, w.masqOn(fmt.Sprintf("10.9%d.0.0/16", i)).With([]keys{
			nil,
			{"helpers": keys{"ftp": []int{21, 2121}}},
			{"mssClamp": 1300, "nonMasqueradeCIDRs": []string{"10.0.0.0/8"}},
			{"snatAddresses": []string{w.V4.Node.String()}, "toPorts": "20000-29999"},
		}[i]).With(keys{"name": name}))
	}
	ctx, over := context.WithTimeout(t.Context(), during)
	defer over()
	kubelets := make([]*kubelet, workers)
	for i := range kubelets {
		kubelets[i] = &kubelet{w: w, n: i, rnd: rand.New(rand.NewPCG(seed, uint64(i))), confs: confs}
	}
	var kills, offences int
	assert.NoError(t, errorsOf(workers+1, workers+1, func(i int) error {
		if i == workers {
			kills, offences = w.killed(ctx, rand.New(rand.NewPCG(seed, workers)))
			return nil
		}
		kubelets[i].run(ctx)
		return nil
	}))
	var alive []*pod
	sum := map[string]int{"masqd killed": kills, "offences": offences}
	for _, k := range kubelets {
		for _, err := range k.errs {
			t.Error(err)
		}
		alive = append(alive, k.alive...)
		for name, n := range map[string]int{
			"ADDs": k.adds, "DELs": k.dels, "plugins killed": k.kills,
			"without DEL": k.abandoned, "DEL after the namespace": k.late,
		} {
			sum[name] += n
		}
	}
	t.Logf("%v, %d are alive", sum, len(alive))
	// The control: each kind of disturbance has happened.
	for name, n := range sum {
		if least := int(during / (10 * time.Second)); n < least {
			t.Errorf("%s: only %d", name, n)
		}
	}

	d := w.daemon(w.daemonArgs()...)
	// masqd removes attachments without a DEL, and a file that is not a record. Whatever
	// else a killed ADD has left is removed by GC.
	if !comes(func() bool { return w.dead(len(alive)) == 0 }) {
		t.Errorf("masqd does not remove stale attachments: %d are alive, the records are %v", len(alive), slices.Sorted(maps.Keys(w.files())))
	}
	for _, conf := range confs {
		list := w.namedConflist(conf["name"].(string), "1.1.0", conf.With(keys{"name": nil}))
		assert.NoError(t, w.within(w.gcOf(list, valid(of(alive, list.Name)...)...)))
	}
	w.rests(d, len(alive))
	t.Logf("masqd after its last start: %v", d.ownCounters().of("masq_repairs_total", "masq_removed", "masq_untranslated", "masq_repair_loops"))
	w.exactly(alive)
	rules := w.nodeRun("nft", "list", "table", "inet", "masq")

	// A masqd that starts now finds nothing to repair.
	d.end()
	d = w.daemon(w.daemonArgs()...)
	if n := d.repairs(); n != 0 {
		t.Errorf("a masqd that starts makes %v repairs", n)
	}
	w.nft("delete table inet masq")
	eventually(t, "the table is made again", func() bool { return d.repairs() > 0 })
	w.rests(d, len(alive))
	if again := w.nodeRun("nft", "list", "table", "inet", "masq"); !sameRules(again, rules) {
		t.Errorf("made again, the rules are\n%s\nand were\n%s", again, rules)
	}

	for _, p := range alive {
		w.lives(p, kubelets[0].confOf(p))
	}
	for _, p := range alive {
		w.call(call{verb: "DEL", id: p.runtime.ContainerID, netns: p.Path(), conf: kubelets[0].confOf(p)}).done(nil)
		assert.NoError(t, p.Close())
	}
	w.rests(d, 0)
	d.end()
	unchanged(t, "remaining at the end", w.traces(), before)
	w.exactly(nil)
}

// of returns the pods of a network.
func of(pods []*pod, network string) (out []*pod) {
	for _, p := range pods {
		if p.list.Name == network {
			out = append(out, p)
		}
	}
	return out
}

// of returns the counters with these name prefixes.
func (c counters) of(prefixes ...string) counters {
	out := counters{}
	for name, n := range c {
		for _, p := range prefixes {
			if strings.HasPrefix(name, "metric "+p) {
				out[name] = n
			}
		}
	}
	return out
}

func (d *daemon) repairs() (sum float64) {
	for _, n := range d.ownCounters().of("masq_repairs_total") {
		sum += n
	}
	return sum
}

// rests waits until masqd knows this number of attachments, and checks that a sync finds
// nothing to repair.
func (w *world) rests(d *daemon, attachments int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("masqd knows %d attachments and is ready", attachments), func() bool {
		code, _ := d.get("/readyz")
		return code == http.StatusOK && d.metric("masq_attachments") == fmt.Sprint(attachments)
	})
	eventually(w.t, "masqd finds nothing to do", func() bool {
		repairs, last := d.repairs(), d.metric("masq_last_sync_timestamp_seconds")
		assert.NoError(w.t, d.Process.Signal(syscall.SIGHUP))
		eventually(w.t, "masqd syncs", func() bool { return d.metric("masq_last_sync_timestamp_seconds") != last })
		return d.repairs() == repairs
	})
	if n := d.metric("masq_drift"); n != "0" {
		w.t.Errorf("%s differences remain", n)
	}
	if n := d.metric("masq_attachments"); n != fmt.Sprint(attachments) {
		w.t.Errorf("masqd knows %s attachments, not %d", n, attachments)
	}
}

// lives checks that an attachment passes CHECK and leaves with the node's address.
func (w *world) lives(p *pod, conf keys) {
	w.t.Helper()
	w.call(call{verb: "CHECK", id: p.runtime.ContainerID, netns: p.Path(), conf: conf.With(keys{"prevResult": p.result})}).done(nil)
	w.seenAs(p, w.V4, w.V4.Node)
}
