package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const collectorPort = 4739

func init() {
	proofs["masqd --nat-log-ipfix 192.0.2.9:4739"] = serves("masq_nat_log_export_sent_total 0")
}

// serves proves a command that starts a masqd that keeps running, by its metrics.
type serves string

func (line serves) prove(m *docNode, c docCommand) error {
	out, err := m.shell(fmt.Sprintf("%s & p=$!; until curl -s http://127.0.0.1:9468/metrics | grep -qx '%s'; do kill -0 $p || exit 1; sleep 0.05; done; kill $p; wait $p", c.text, line)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// counted makes a world whose kernel counts packets and bytes of flows and records their
// start.
func counted(t *testing.T, u nstest.Uplink) *world {
	t.Helper()
	w := newWorld(t, u)
	for _, key := range []string{"net.netfilter.nf_conntrack_timestamp", "net.netfilter.nf_conntrack_acct"} {
		assert.NoError(t, w.Node.Sysctl(key, "1"))
	}
	return w
}

// collectorAt returns the value of the flag.
func (w *world) collectorAt(network string) string {
	return netip.AddrPortFrom(w.V4.Server, collectorPort).String() + "/" + network
}

// number returns the value of a metric as an integer.
func (d *daemon) number(name string) int {
	n, err := strconv.ParseFloat(d.metric(name), 64)
	if err != nil {
		return -1
	}
	return int(n)
}

// exported waits until this number of records was sent.
func (d *daemon) exported(n int) {
	d.w.t.Helper()
	until(d.w.t, fmt.Sprintf("%d records were sent", n), func() bool { return d.number("masq_nat_log_export_sent_total") >= n })
	if got := d.number("masq_nat_log_export_sent_total"); got != n {
		d.w.t.Errorf("%d records were sent, not %d", got, n)
	}
}

// forgetFlows deletes all flows of a pod.
func (w *world) forgetFlows(p *pod) {
	w.t.Helper()
	w.nodeRun("conntrack", "-D", "-s", p.addr(w.V4.Node).String())
}

// nfcapd reads the records that masqd exports over UDP: begin and end of a flow, with both
// sides of the translation as the far end saw them. nfcapd may start later than masqd.
func TestIPFIXToNfcapd(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	d := w.daemon("--nat-log-ipfix", w.collectorAt("udp"))
	server := assert.Must(w.Server.ServeTCP(netip.AddrPortFrom(w.V4.Server, 80)))(t)
	defer func() { _ = server.Close() }()
	p := w.attachNamed("shop", "cart", w.masq())
	seen := assert.Must(p.Who(soon(t), netip.AddrPort{}, netip.AddrPortFrom(w.V4.Server, 80)))(t)
	until(t, "masqd reports that the collector does not answer", func() bool { return d.number("masq_nat_log_export_stopped") == 1 })
	if _, text := d.get("/readyz"); !strings.Contains(text, `"ready":true`) || !strings.Contains(text, "IPFIX collector: ") {
		t.Errorf("/readyz: %s", text)
	}
	c := w.nfcapd("first")
	d.exported(1)
	ping := assert.Must(p.Ping(soon(t), w.V4.Server, nstest.PingOptions{}))(t)
	if !ping.Reply() {
		t.Fatal("no answer")
	}
	begun := time.Now()
	w.forgetFlows(p)
	d.exported(4)
	if plan := w.V6; plan.Server.IsValid() {
		assert.Must(p.Ping(soon(t), plan.Server, nstest.PingOptions{}))(t)
		d.exported(5)
	}
	records := c.end()
	private, port := p.addr(w.V4.Node).String(), strconv.Itoa(int(seen.Port()))
	find := func(proto int, event string) natRecord {
		t.Helper()
		i := slices.IndexFunc(records, func(r natRecord) bool { return r.Proto == proto && r.Event == event })
		if i < 0 {
			t.Fatalf("no %q of protocol %d in %+v", event, proto, records)
		}
		return records[i]
	}
	for _, event := range []string{"NAT44 session create", "NAT44 session delete"} {
		r := find(6, event)
		if r.Src != private || r.Dst != w.V4.Server.String() || r.DstPort != 80 || r.SrcPort == 0 ||
			r.PostSrc != seen.Addr().String() || r.PostSrcPort != port || r.PostDst != r.Dst || r.PostDstPort != "80" {
			t.Errorf("%s: %+v; the far end saw %s", event, r, seen)
		}
		at, err := time.Parse("2006-01-02T15:04:05", r.At) // followed by a fraction
		if err != nil || at.Sub(begun).Abs() > time.Minute {
			t.Errorf("%s: at %q, %v", event, r.At, err)
		}
		if r := find(1, event); r.Src != private || r.PostSrc != w.V4.Node.String() || r.ICMPType != 8 {
			t.Errorf("ping: %+v", r)
		}
	}
	if r := find(58, "NAT translation create"); r.Src6 != p.addr(w.V6.Node).String() || r.Dst6 != w.V6.Server.String() || r.ICMPType != 128 {
		t.Errorf("ping: %+v", r)
	}
	if len(records) != 5 {
		t.Errorf("%d records: %+v", len(records), records)
	}
	d.end()
}

// A collector that was killed and started again receives templates and continues.
func TestIPFIXCollectorRestarts(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	d := w.daemon("--nat-log-ipfix", w.collectorAt("udp"))
	p := w.attachNamed("shop", "cart", w.masq())
	echo := assert.Must(w.Server.ServeUDP(netip.AddrPortFrom(w.V4.Server, 7)))(t)
	c := w.nfcapd("first")
	assert.NoError(t, p.EchoUDP(soon(t), netip.AddrPort{}, echo.Addr(), 100))
	d.exported(1)
	if n := len(c.end()); n != 1 {
		t.Errorf("it got %d records", n)
	}
	// masqd sends nothing between the two collectors, so it cannot detect the restart.
	templates := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool {
		return p.DstPort == collectorPort && len(p.Payload) > 18 && p.Payload[17] == 2 // the first set has templates
	}))(t)
	c = w.nfcapd("second")
	sent := 1
	until(t, "the templates were sent again", func() bool {
		// The source port is fixed: of fifty ports that the kernel chooses, two would be equal
		// once in 25 runs, and count as one flow.
		assert.NoError(t, p.EchoUDP(soon(t), at(netip.Addr{}, uint16(20_000+sent)), echo.Addr(), 100))
		sent++
		d.exported(sent)
		return len(templates.Packets()) > 0
	})
	records := c.end()
	if n := len(records); n == 0 || n >= sent {
		t.Errorf("it decoded %d of %d records", n, sent-1)
	}
	d.end()
}

// Messages over UDP are as large as the path MTU allows.
func TestIPFIXOnANarrowPath(t *testing.T) {
	w := counted(t, nstest.Uplink{MTU: 600})
	seen := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool {
		return p.Dst == w.V4.Server && (p.DstPort == collectorPort || p.FragOffset > 0)
	}))(t)
	c := w.nfcapd("flows")
	d := w.daemon("--nat-log-ipfix", w.collectorAt("udp"))
	p := w.attachNamed("shop", "cart", w.masq())
	p.burst(60)
	d.exported(60)
	if n := len(c.end()); n != 60 {
		t.Errorf("%d records arrived", n)
	}
	largest := 0
	for _, x := range seen.Packets() {
		if x.FragOffset > 0 || x.MoreFragments {
			t.Errorf("a message was fragmented: %s", x)
		}
		largest = max(largest, x.Length)
	}
	if largest > 600 || largest < 480 {
		t.Errorf("the largest packet has %d bytes", largest)
	}
	d.end()
}

// burst begins flows: one datagram to each of many ports of the far end.
func (p *pod) burst(flows int) {
	t := p.w.t
	t.Helper()
	for begin := 0; begin < flows; begin += 50_000 {
		c := assert.Must(p.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)))(t)
		for i := range min(50_000, flows-begin) {
			if _, err := c.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(p.w.V4.Server, uint16(10_000+i))); err != nil {
				t.Fatal(err)
			}
		}
		assert.NoError(t, c.Close())
	}
}

// Over TCP masqd connects when a collector listens, and connects again to its successor.
// Packets and bytes equal what the far end saw.
func TestIPFIXOverTCP(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	d := w.daemon("--nat-log-ipfix", w.collectorAt("tcp"))
	until(t, "masqd reports that the collector does not answer", func() bool { return d.number("masq_nat_log_export_stopped") == 1 })
	p := w.attachNamed("shop", "cart", w.masq())
	echo := assert.Must(w.Server.ServeUDP(netip.AddrPortFrom(w.V4.Server, 7)))(t)
	assert.NoError(t, p.EchoUDP(soon(t), netip.AddrPort{}, echo.Addr(), 1000))
	pings := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return p.Proto == 1 && p.ICMPType == 8 }))(t)
	assert.Must(p.Ping(soon(t), w.V4.Server, nstest.PingOptions{}))(t)
	first := w.stream("first")
	d.exported(2)
	assert.NoError(t, first.Process.Kill())
	_ = first.Wait() // it was killed
	until(t, "masqd reports that the collector does not answer again", func() bool { return d.number("masq_nat_log_export_stopped") == 1 })
	w.forgetFlows(p)
	second := w.stream("second")
	d.exported(4)
	d.end()
	assert.NoError(t, second.Wait())

	begin, told := first.records()
	end, again := second.records()
	if len(begin) != 2 || len(end) != 2 || len(told) == 0 || len(again) == 0 {
		t.Fatalf("%v and %v, told %v and %v", begin, end, told, again)
	}
	for _, records := range [][]map[string]string{begin, end} {
		slices.SortFunc(records, func(a, b map[string]string) int { return strings.Compare(b["4"], a["4"]) }) // UDP, 17, first
	}
	seen := echo.Seen()[0].Source
	both := map[string]string{
		"4": "17", "8": p.addr(w.V4.Node).String(), "225": seen.Addr().String(), "227": strconv.Itoa(int(seen.Port())),
		"12": w.V4.Server.String(), "226": w.V4.Server.String(), "11": "7", "228": "7", "32": "0",
		"350": "shop/cart", "348": "eth0",
	}
	has := func(what string, r, want map[string]string) {
		t.Helper()
		for id, v := range want {
			if r[id] != v {
				t.Errorf("%s: element %s is %q, not %q: %v", what, id, r[id], v, r)
			}
		}
	}
	has("begin", begin[0], both)
	has("end", end[0], both)
	has("begin", begin[0], map[string]string{"230": "4", "7": end[0]["7"]})
	// One datagram in each direction, with IP and UDP headers.
	has("end", end[0], map[string]string{"230": "5", "231": "1028", "232": "1028", "298": "1", "299": "1"})
	if ms, err := strconv.Atoi(end[0]["161"]); err != nil || ms == 0 || ms > 60_000 {
		t.Errorf("it lasted %q ms", end[0]["161"])
	}
	// The ICMP identifier is translated as a port. Type 8, code 0.
	id := strconv.Itoa(int(pings.Packets()[0].ICMPRest >> 16))
	has("ping", begin[1], map[string]string{"230": "4", "4": "1", "227": id, "7": end[1]["7"], "32": "2048", "11": "0", "228": "0"})
	has("ping", end[1], map[string]string{"230": "5", "4": "1", "227": id, "298": "1", "299": "1"})
	for id, want := range map[string]string{"464": p.list.Name, "349": p.runtime.ContainerID} {
		if want = fmt.Sprintf("%x", want); begin[0][id] != want {
			t.Errorf("element %s is %q, not %q", id, begin[0][id], want)
		}
	}
	if got := again[len(again)-1]; got["144"] != told[0]["144"] || got["166"] != "0" || got["42"] != "4" && got["42"] != "2" {
		t.Errorf("the last statistics are %v", got)
	}
}

// paced begins flows at a rate that the log sustains, so that none is lost earlier.
func (d *daemon) paced(p *pod, flows int) {
	t := d.w.t
	t.Helper()
	const step = 5000
	c := assert.Must(p.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)))(t)
	defer func() { _ = c.Close() }()
	begun := d.number("masq_nat_log_records_total")
	for n := 0; n < flows; n += step {
		for i := range step {
			_ = assert.Must(c.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(d.w.V4.Server, uint16(5000+n+i))))(t)
		}
		until(t, "the flows are logged", func() bool { return d.number("masq_nat_log_records_total") >= begun+n+step })
	}
}

// A collector that stops reading misses records. They are counted, and the count is sent
// as soon as it reads again. The log on disk has all records.
func TestIPFIXCollectorStalls(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net.ipv4.tcp_wmem", "4096 65536 65536"))
	s := w.stream("flows")
	d := w.daemon("--nat-log", filepath.Join(w.dir, "nat-log"), "--nat-log-ipfix", w.collectorAt("tcp"))
	p := w.attachNamed("shop", "cart", w.masq())
	d.paced(p, 5000)
	d.exported(5000)
	assert.NoError(t, s.Suspend())
	d.paced(p, 50_000)
	w.forgetFlows(p)
	until(t, "records are lost", func() bool { return d.number("masq_nat_log_export_lost_total") > 0 })
	until(t, "all flows are logged", func() bool { return d.number("masq_nat_log_records_total") >= 110_000 })
	if d.metric("masq_nat_log_lost_total") != "0" {
		t.Error("the log on the disk lost something too")
	}
	if text := d.said(); strings.Count(text, "records are dropped and counted") != 1 {
		t.Error("the loss is not logged exactly once")
	}
	assert.NoError(t, s.Resume())
	until(t, "all records are accounted for", func() bool {
		return d.number("masq_nat_log_export_sent_total")+d.number("masq_nat_log_export_lost_total") == d.number("masq_nat_log_records_total")
	})
	sent, lost := d.number("masq_nat_log_export_sent_total"), d.number("masq_nat_log_export_lost_total")
	d.end()
	assert.NoError(t, s.Wait())
	events, told := s.records()
	if n := len(events); n != sent {
		t.Errorf("%d records arrived of %d", n, sent)
	}
	if last := told[len(told)-1]; last["166"] != strconv.Itoa(lost) {
		t.Errorf("%d records were lost, and the collector received %v", lost, last)
	}
	t.Logf("%d records arrived, %d are reported as lost", sent, lost)
}

// said returns the daemon's log.
func (d *daemon) said() string { return string(assert.Must(os.ReadFile(d.log))(d.w.t)) }

// Events that the kernel dropped are reported to the collector, as in the log on disk.
func TestIPFIXReportsLostEvents(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	s := w.stream("flows")
	d := w.daemon("--nat-log", filepath.Join(w.dir, "nat-log"), "--nat-log-ipfix", w.collectorAt("tcp"))
	p := w.attachNamed("shop", "cart", w.masq())
	assert.NoError(t, d.Suspend())
	until(t, "the kernel drops events", func() bool {
		p.burst(50_000)
		w.forgetFlows(p)
		_, dropped := w.events()
		return dropped
	})
	assert.NoError(t, d.Resume())
	until(t, "the loss is counted", func() bool { return d.number("masq_nat_log_lost_total") > 0 })
	until(t, "all records were sent", func() bool {
		wait, _ := w.events()
		return !wait && d.settled()
	})
	lost := d.number("masq_nat_log_lost_total")
	sent := d.number("masq_nat_log_export_sent_total")
	if got := d.number("masq_nat_log_export_lost_total"); got != lost {
		t.Errorf("the export lost %d, the log lost %d", got, lost)
	}
	d.end()
	assert.NoError(t, s.Wait())
	events, told := s.records()
	if last := told[len(told)-1]; last["166"] != strconv.Itoa(lost) || len(events) != sent {
		t.Errorf("%d of %d events arrived; %d were lost, and the collector received %v", len(events), sent, lost, last)
	}
}

// events reports whether messages wait for a netfilter socket of the node, and whether some
// were dropped.
func (w *world) events() (wait, dropped bool) {
	w.t.Helper()
	assert.NoError(w.t, w.Node.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netlink")
		for line := range strings.Lines(string(b)) {
			// sk, protocol, pid, groups, memory, memory, dump, locks, drops, inode
			if f := strings.Fields(line); len(f) == 10 && f[1] == "12" {
				wait, dropped = wait || f[4] != "0", dropped || f[8] != "0"
			}
		}
		return err
	}))
	return wait, dropped
}

// settled reports whether the export has all records of the log except gaps.
func (d *daemon) settled() bool {
	gaps := strings.Count(d.said(), "the NAT log has a gap")
	return d.number("masq_nat_log_export_sent_total") == d.number("masq_nat_log_records_total")-gaps
}

// The control: without the flag the collector receives nothing, although it runs and the
// log is written.
func TestNoIPFIXWithoutTheFlag(t *testing.T) {
	w := counted(t, nstest.Uplink{})
	seen := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return p.DstPort == collectorPort }))(t)
	c := w.nfcapd("flows")
	d := w.daemon("--nat-log", filepath.Join(w.dir, "nat-log"))
	p := w.attachNamed("shop", "cart", w.masq())
	d.paced(p, 5000)
	if n := seen.Packets(); len(n) != 0 {
		t.Errorf("it sends %v", n)
	}
	if got := d.metric("masq_nat_log_export_sent_total"); got != "" {
		t.Errorf("it has sent %s", got)
	}
	if n := len(c.end()); n != 0 {
		t.Errorf("%d records arrived", n)
	}
	d.end()
}

// An invalid collector is refused at start.
func TestIPFIXInvalidCollectors(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	for value, want := range map[string]string{
		"198.51.100.2":           `invalid argument "198.51.100.2" for "--nat-log-ipfix" flag: "198.51.100.2" is not an address with a port; give ADDRESS:PORT`,
		"198.51.100.2:4739/sctp": `"sctp" is neither udp nor tcp`,
		"no..host:4739":          `--nat-log-ipfix: "no..host:4739/udp" does not resolve`,
	} {
		out, err := w.Node.Command(soon(t), built("masqd"), w.served("--nat-log-ipfix", value)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", value, err, out)
		}
	}
}
