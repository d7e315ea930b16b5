package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	// medianBound and mostBound bound the time from a change to its repair while the traffic, a
	// listener and other load run. make bench measures the time on an idle machine against
	// 20 ms and 250 ms.
	medianBound = 100 * time.Millisecond
	mostBound   = time.Second
)

// kubeProxy has the effect of kube-proxy's rules that matters here: connections are tracked
// and translated while the managed table is missing.
const kubeProxy = `table ip kube-proxy {
	chain filter-forward { type filter hook forward priority filter; ct state established,related accept; }
	chain nat-postrouting { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade; }
}`

// harm is a kind of change made by another program.
type harm struct{ name, change string }

// harms returns the changes that affect a container. The first restores the rules of kube-proxy
// in the same transaction, so only the managed table stays missing.
func (w *world) harms(p *pod) []harm {
	return []harm{
		{"flush ruleset", "flush ruleset\n" + kubeProxy},
		{"delete table", "delete table inet masq"},
		{"delete element", fmt.Sprintf("delete element inet masq policy4 { %s }", p.addr(w.V4.Node))},
		{"unexpected rule", "insert rule inet masq postrouting accept"},
	}
}

// restoration is one change with the time of its repair.
type restoration struct {
	harm    string
	asked   time.Time // time just before the change
	change  time.Time
	repair  time.Time // when the rules were repaired
	settled time.Time // when the flows were deleted
}

// exposure counts packets with a container's address: before the rules were repaired, and
// between that and the deletion of the flows.
type exposure struct{ gap, settling int }

// record writes records of n attachments in chained mode, with the policy of a container.
func (w *world) record(like *pod, n int) {
	w.t.Helper()
	assert.NoError(w.t, w.Node.Do(func() error {
		records, err := store.Open(filepath.Join(w.dir, "state"))
		if err != nil {
			return err
		}
		r, found, err := records.Get(masq.Key{Network: like.list.Name, ContainerID: like.runtime.ContainerID, Interface: "eth0"})
		if err != nil || !found {
			return fmt.Errorf("the record of %s: found %t, %w", like.runtime.ContainerID, found, err)
		}
		r.Chained, r.SpoofCheck, r.Links, r.NetNS, r.IPAM = true, false, nil, "", ""
		for i := range n {
			r.ContainerID = fmt.Sprintf("recorded-%d", i)
			r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})}
			if err := records.Put(r); err != nil {
				return err
			}
		}
		return nil
	}))
}

// repairs makes changes and waits until masqd has repaired them.
type repairs struct {
	*load
	d     *daemon
	rules *transactions
	read  int // bytes of masqd's log
	all   []restoration
}

// suffer makes one change after a few more packets have arrived.
func (r *repairs) suffer(h harm) {
	w, t := r.w, r.w.t
	t.Helper()
	next := r.far.arrived() + 20 + rand.IntN(60)
	until(t, "there is more traffic", func() bool { return r.far.arrived() >= next })
	r.rules.forget()
	r.begins(t.Context(), fmt.Sprintf("%s, %d", h.name, len(r.all)), r.rules.change)
	m := restoration{harm: h.name, asked: time.Now()}
	w.nft("%s", h.change)
	m.change = r.rules.next(t, "nft").at
	m.repair = r.rules.next(t, "masqd").at
	until(t, "masqd logs the repair of "+h.name, func() bool {
		var done bool
		m.settled, done = r.says(m.asked)
		return done
	})
	r.all = append(r.all, m)
}

// says reads masqd's log and returns the time of the first repair that it logged after since.
func (r *repairs) says(since time.Time) (at time.Time, found bool) {
	r.w.t.Helper()
	text := assert.Must(os.ReadFile(r.d.log))(r.w.t)[r.read:]
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		r.read += len(line)
		var entry struct {
			Time time.Time
			Msg  string
		}
		assert.NoError(r.w.t, json.Unmarshal([]byte(line), &entry))
		// The log has wall-clock times.
		if entry.Msg == "repaired" && entry.Time.After(since.Round(0)) {
			return entry.Time, true
		}
	}
	return time.Time{}, false
}

// exposures assigns packets with a container's address to the change that let them pass.
// Packets outside all changes are late.
func (r *repairs) exposures() (of map[string]exposure, late []string) {
	of = map[string]exposure{}
	for _, s := range r.far.exposed() {
		i := len(r.all) - 1
		for i >= 0 && r.all[i].asked.Round(0).After(s.at) {
			i--
		}
		if i < 0 {
			late = append(late, fmt.Sprintf("before any change: %v", s.packet))
			continue
		}
		m := r.all[i]
		n := of[m.harm]
		switch {
		case !s.at.After(m.repair.Round(0)):
			n.gap++
		case !s.at.After(m.settled):
			n.settling++
		default:
			late = append(late, fmt.Sprintf("%s after the end of repair %d, of %s, and %s after the change: %v",
				s.at.Sub(m.settled), i, m.harm, s.at.Sub(m.change.Round(0)), s.packet))
		}
		of[m.harm] = n
	}
	return of, late
}

// figures are times, sorted.
type figures []time.Duration

func (r *repairs) figures(harm string, end func(restoration) time.Time) (out figures) {
	for _, m := range r.all {
		if m.harm == harm {
			out = append(out, end(m).Round(0).Sub(m.change.Round(0)))
		}
	}
	slices.Sort(out)
	return out
}

func (f figures) median() time.Duration { return f[len(f)/2] }
func (f figures) p99() time.Duration    { return f[(len(f)*99+99)/100-1] }
func (f figures) most() time.Duration   { return f[len(f)-1] }

func (f figures) String() string {
	return fmt.Sprintf("%.1f\t%.1f\t%.1f", ms(f.median()), ms(f.p99()), ms(f.most()))
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// judge compares the times of each kind of change with their bounds.
func (r *repairs) judge(harms []harm) {
	t := r.w.t
	t.Helper()
	of, late := r.exposures()
	rows := "change\tn\trules: median\tp99\tmax ms\tflows: median\tp99\tmax ms\tpackets before the rules\tbefore the flows\t\n"
	for _, h := range harms {
		rules := r.figures(h.name, func(m restoration) time.Time { return m.repair })
		flows := r.figures(h.name, func(m restoration) time.Time { return m.settled })
		rows += fmt.Sprintf("%s\t%d\t%v\t%v\t%d\t%d\t\n", h.name, len(rules), rules, flows, of[h.name].gap, of[h.name].settling)
		if rules.median() >= medianBound || rules.most() >= mostBound {
			t.Errorf("%s: repaired in a median of %s and a maximum of %s, not below %s and %s", h.name, rules.median(), rules.most(), medianBound, mostBound)
		}
		if of[h.name].gap == 0 {
			t.Errorf("%s: no packet passed before its repair, so the test proves nothing", h.name)
		}
	}
	var table strings.Builder
	out := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, err := io.WriteString(out, rows)
	assert.NoError(t, errors.Join(err, out.Flush()))
	t.Logf("\n%s", table.String())
	wantNone(t, late)
}

// TestRepairsUnderTraffic: other programs delete rules or insert rules before ours, while a
// node has a thousand attachments and one of them sends continuously. Each time the rules
// are repaired within the bounds, flows that began untranslated are deleted, and flows that
// were translated before continue unchanged.
func TestRepairsUnderTraffic(t *testing.T) {
	const attachments, changes = 1000, 100
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	busy, calm := w.attach("busy", list), w.attach("calm", list)
	// With these settings a SYN is retransmitted each second, so at least one of them arrives
	// while the rules exist.
	assert.NoError(t, errors.Join(busy.Sysctl("net.ipv4.tcp_syn_linear_timeouts", "60"), busy.Sysctl("net.ipv4.tcp_syn_retries", "60")))
	w.record(busy, attachments-2)
	w.nft("%s", kubeProxy)
	r := &repairs{load: w.newLoad(busy, busy, calm), rules: w.watchTransactions()}
	args := []string{"--config", filepath.Join(w.dir, "none"), "--log-format", "json"}
	r.d = w.daemon(args...)
	until(t, "masqd knows all attachments", func() bool { return r.d.metric("masq_attachments") == fmt.Sprint(attachments) })

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r.stream(ctx)
	r.lasting(ctx, "lasting")
	r.fresh(ctx)
	r.connects(ctx)
	harms := w.harms(busy)
	for range changes {
		for _, h := range harms {
			r.suffer(h)
		}
	}
	stop()
	wantNone(t, r.end())
	t.Log(r.load)
	r.judge(harms)
	wantNone(t, r.failed(w.V4.Node))
	flows, faults := r.begunWithChanges(w.V4.Node)
	wantNone(t, faults)
	inside := r.begunExposed()
	t.Logf("begun without rules: %d connections, and %d of the lasting UDP flows", len(inside), flows)
	if len(inside) < len(r.all)/4 || flows < len(r.all)/4 {
		t.Errorf("only %d connections and %d flows began without rules, so the test proves little", len(inside), flows)
	}
	if seen := r.far.seenAs("lasting"); len(seen) != 1 || seen[0].Addr() != w.V4.Node {
		t.Errorf("the flow from before the changes arrived from %v", seen)
	}
	r.d.end()

	for _, h := range harms {
		r.withoutMasqd(h, args)
	}
}

// withoutMasqd is the control: without masqd, packets keep arriving with the container's
// address, and flows that begin then do not work.
func (r *repairs) withoutMasqd(h harm, args []string) {
	const during = 2 * time.Second
	w, t := r.w, r.w.t
	t.Helper()
	w.daemon(args...).end() // repairs everything
	r.rules.forget()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r.fresh(ctx)
	w.nft("%s", h.change)
	changed := r.rules.next(t, "nft").at
	if err := r.from.tryCheck(r.from.list); err == nil {
		t.Fatalf("%s: CHECK sees nothing wrong; since then there were transactions of %v:\n%s",
			h.name, r.rules.programs(), w.nodeRun("nft", "list", "ruleset"))
	}
	r.wg.Go(func() {
		r.mu.Lock()
		r.port++
		port := r.port
		r.mu.Unlock()
		var late net.Error
		if c := r.whoFrom(t.Context(), port, during); !errors.As(c.err, &late) || !late.Timeout() {
			t.Errorf("%s without masqd: a connection arrives from %s, %v", h.name, c.seen, c.err)
		}
	})
	c := assert.Must(r.from.DialUDP(netip.AddrPort{}, r.udp))(t)
	defer c.Close()
	if err := r.untilAnswered(c, "not repaired", during); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s without masqd: a flow has %v", h.name, err)
	}
	stop()
	r.wg.Wait()
	late := 0
	for _, s := range r.far.exposed() {
		if s.at.After(changed.Round(0).Add(during / 2)) {
			late++
		}
	}
	t.Logf("%s without masqd: %d packets with the container's address from %s on", h.name, late, during/2)
	if late < 100 {
		t.Errorf("%s without masqd: only %d packets with the container's address", h.name, late)
	}
}
