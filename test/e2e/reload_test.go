package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// reloads is the number of times that the configuration changes.
const reloads = 1000

// nodeConfigs returns configurations that change every key of the node's configuration, but
// nothing that concerns the flows to the server.
func nodeConfigs(egress []netip.Addr) []string {
	addresses := fmt.Sprintf("snatAddresses: [%s, %s]\n", egress[0], egress[1])
	return []string{
		"",
		"mssClamp: 1200\nresyncInterval: 30s\n",
		"mssClamps: {203.0.113.0/24: 500, 2001:db8:3::/64: 1220}\n",
		"mssClamps: {203.0.113.0/24: 600}\ntoPorts: 20000-29999\n",
		"randomFully: false\n",
		"helpers: {ftp: [21, 2121]}\n",
		"dropInvalid: false\n",
		addresses,
		addresses + "toPorts: 30000-39999\nrandomFully: false\nmssClamp: \"off\"\n",
		"masqueradeCIDRs: [172.20.0.0/16]\nmasqLinkLocal: true\n",
	}
}

// marker returns a direct destination that only one of the configurations has.
func marker(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
}

// directs reads the direct destinations of all policies from the kernel.
type directs struct {
	conn *nftables.Conn
	sets []*nftables.Set
}

func (w *world) directs() *directs {
	w.t.Helper()
	d := &directs{}
	assert.NoError(w.t, w.Node.Do(func() (err error) {
		d.conn, err = nftables.New(nftables.AsLasting())
		return err
	}))
	w.t.Cleanup(func() { _ = d.conn.CloseLasting() })
	for _, s := range assert.Must(d.conn.GetSets(&nftables.Table{Name: "masq", Family: nftables.TableFamilyINet}))(w.t) {
		if strings.HasPrefix(s.Name, "direct4-") {
			d.sets = append(d.sets, s)
		}
	}
	if len(d.sets) != 2 {
		w.t.Fatalf("%d policies, want one of attachments and one of sources", len(d.sets))
	}
	return d
}

// has reports whether a prefix is direct under every policy.
func (d *directs) has(p netip.Prefix) bool {
	for _, s := range d.sets {
		all, err := d.conn.GetSetElements(s)
		begins := func(e nftables.SetElement) bool { return !e.IntervalEnd && slices.Equal(e.Key, p.Addr().AsSlice()) }
		if err != nil || !slices.ContainsFunc(all, begins) { // an error: the set is being changed
			return false
		}
	}
	return true
}

// counters are the counters of elements and rules in the kernel, in packets and bytes, and
// the counters of masqd, by name.
type counters map[string]float64

// back returns the counters that have decreased, and the counters that are missing. Only
// counters of rules may be missing.
func (c counters) back(now counters) (out []string) {
	for name, was := range c {
		n, there := now[name]
		switch {
		case !there && !strings.HasPrefix(name, "rule "):
			out = append(out, fmt.Sprintf("%s is missing after %v", name, was))
		case there && n < was:
			out = append(out, fmt.Sprintf("%s: %v after %v", name, n, was))
		}
	}
	return out
}

// kernelCounters reads the counters of the table.
func (w *world) kernelCounters() counters {
	w.t.Helper()
	type counter struct{ Packets, Bytes float64 }
	var listing struct {
		Nftables []struct {
			Map *struct {
				Name string
				Elem []json.RawMessage
			}
			Rule *struct {
				Chain, Comment string
				Expr           []json.RawMessage
			}
		}
	}
	assert.NoError(w.t, json.Unmarshal([]byte(w.nodeRun("nft", "-j", "list", "table", "inet", "masq")), &listing))
	out := counters{}
	put := func(name string, c *counter) {
		if c != nil {
			out[name+" packets"], out[name+" bytes"] = c.Packets, c.Bytes
		}
	}
	for _, o := range listing.Nftables {
		switch {
		case o.Rule != nil:
			for _, raw := range o.Rule.Expr {
				var expr struct{ Counter *counter }
				if json.Unmarshal(raw, &expr) == nil {
					put("rule "+o.Rule.Chain+" "+o.Rule.Comment, expr.Counter)
				}
			}
		case o.Map != nil:
			for _, raw := range o.Map.Elem {
				var pair []json.RawMessage
				var elem struct {
					Elem struct {
						Val     string
						Counter *counter
					}
				}
				assert.NoError(w.t, json.Unmarshal(raw, &pair))
				assert.NoError(w.t, json.Unmarshal(pair[0], &elem))
				put("element "+o.Map.Name+" "+elem.Elem.Val, elem.Elem.Counter)
			}
		}
	}
	return out
}

// ownCounters reads masqd's metrics that are counters.
func (d *daemon) ownCounters() counters {
	out := counters{}
	counts := false
	_, text := d.get("/metrics")
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# TYPE "):
			counts = fields[3] == "counter"
		case counts && !strings.HasPrefix(line, "#"):
			if n, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil {
				out["metric "+fields[0]] = n
			}
		}
	}
	return out
}

// TestReloads changes the node's configuration under traffic of an attachment and of a pod
// of another plugin. Open flows continue, new flows are translated, and no counter is
// reset.
func TestReloads(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	second := w.V4.Node.Next()
	addAddress(t, w.Node, "uplink", netip.PrefixFrom(second, 24))
	egress := []netip.Addr{w.V4.Node, second}
	configs := nodeConfigs(egress)
	write := func(i int) string {
		return w.writeConfig(fmt.Sprintf("nonMasqueradeCIDRs: [172.16.0.0/12, %s]\nsourceCIDRs: [10.89.0.0/16, 10.200.%d.0/24]\n%s",
			marker(i), i%200, configs[i%len(configs)]))
	}
	pod := w.attach("attachment", w.conflist("1.0.0", w.masq()))
	ipam := w.masqOn("10.89.0.0/16")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
	other := w.attach("other", w.namedConflist("others", "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}))
	d := w.daemon("--config", write(0))
	direct := w.directs()
	until(t, "the configuration is in the kernel", func() bool { return direct.has(marker(0)) })

	flows := w.begin(egress, pod, other)
	kernel, own := w.kernelCounters(), d.ownCounters()
	if len(kernel) == 0 || len(own) == 0 {
		t.Fatalf("%d counters in the kernel, %d of masqd", len(kernel), len(own))
	}
	var back []string
	look := func() {
		t.Helper()
		nowKernel, nowOwn := w.kernelCounters(), d.ownCounters()
		back = append(back, slices.Concat(kernel.back(nowKernel), own.back(nowOwn))...)
		kernel, own = nowKernel, nowOwn
	}
	took := make([]time.Duration, 0, reloads)
	begun := time.Now()
	for i := 1; i <= reloads; i++ {
		changed := time.Now()
		write(i)
		w.inKernel(direct, i)
		took = append(took, time.Since(changed))
		look()
	}
	whole := time.Since(begun)
	pings, bytes, connections := flows.count("ping"), flows.count("stream"), flows.count("connections")
	wantNone(t, flows.end())
	t.Logf("%d reloads in %s\n%s", reloads, whole.Round(time.Millisecond), flows)
	slices.Sort(took)
	t.Logf("from the file to the kernel: median %s, 99%% %s, maximum %s",
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	wantNone(t, back)
	if pings < 100 || bytes < 100*pieceSize || connections < 20 {
		t.Errorf("only %d pings, %d bytes, %d connections", pings, bytes, connections)
	}
	if n := d.metric("masq_sync_failures_total"); n != "0" {
		t.Errorf("%s syncs failed", n)
	}
	if n := d.metric("masq_repair_loops_total"); n != "0" {
		t.Errorf("%s repair loops were counted", n)
	}
	d.end()

	// The control: deleting the rules and making them again loses packets, shows container
	// addresses, and resets counters.
	flows = w.begin(egress, pod, other)
	rules := w.nodeRun("nft", "-s", "list", "table", "inet", "masq")
	before := w.kernelCounters()
	naive := filepath.Join(w.dir, "naive.nft")
	assert.NoError(t, os.WriteFile(naive, []byte(rules), 0o600))
	for range 20 {
		w.nft("delete table inet masq")
		w.nodeRun("nft", "-f", naive)
	}
	if back := before.back(w.kernelCounters()); len(back) == 0 {
		t.Error("counters continue although the rules were made again")
	}
	faults := flows.end()
	for _, what := range []string{"arrived with the address of a container", "were not answered"} {
		if !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, what) }) {
			t.Errorf("rules that are deleted and made again: nothing %s: %v", what, faults)
		}
	}
	t.Logf("the control: %d faults, such as %s", len(faults), faults[0])
}

// inKernel waits for the i-th configuration.
func (w *world) inKernel(d *directs, i int) {
	w.t.Helper()
	ctx := soon(w.t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !d.has(marker(i)) {
		select {
		case <-ctx.Done():
			w.t.Fatalf("timeout: configuration %d is not in the kernel", i)
		case <-tick.C:
		}
	}
}

// TestReloadSparesFlows: a connection that began as direct stays direct when its destination
// is no longer direct. The next connection is translated.
func TestReloadSparesFlows(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	subnet := netip.MustParsePrefix("10.88.0.0/16")
	// The far end has a route to the container's own address.
	assert.NoError(t, w.Router.Route(subnet, w.V4.Node))
	assert.NoError(t, w.Server.Route(subnet, w.V4.ServerNet.Addr().Next()))
	d := w.daemon("--config", w.writeConfig(fmt.Sprintf("nonMasqueradeCIDRs: [%s]\n", w.V4.ServerNet)))
	pod := w.attach("a", w.conflist("1.0.0", w.masq()))
	w.rests(d, 1) // masqd checks the flows of a new attachment
	server, _ := w.servers(w.V4.Server)
	who := func() netip.Addr { return assert.Must(pod.Who(soon(t), netip.AddrPort{}, server))(t).Addr() }
	if from := who(); from != pod.addr(server.Addr()) { // control
		t.Fatalf("before the reload the server sees %s", from)
	}
	before := assert.Must(pod.Dial(soon(t), "tcp", netip.AddrPort{}, server))(t)
	defer before.Close()
	w.writeConfig("nonMasqueradeCIDRs: [172.16.0.0/12]\n")
	until(t, "the server's network is no longer direct", func() bool { return who() == w.V4.Node })
	w.rests(d, 1)
	works(t, before)
	if n := d.metric("masq_untranslated_flows_total"); n != "0" {
		t.Errorf("%s flows were counted as untranslated", n)
	}
	if n := d.repairs(); n != 0 {
		t.Errorf("%v differences were taken for damage", n)
	}
}
