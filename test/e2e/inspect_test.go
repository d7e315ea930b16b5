package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// command returns a masq-cni command in a namespace, with the world's state directory.
func (w *world) command(n *nstest.NS, args ...string) *nstest.Command {
	w.t.Helper()
	args = append([]string{"--state-dir", filepath.Join(w.dir, "state")}, args...)
	return n.Command(soon(w.t), built("masq-cni"), args...)
}

// bounded runs masq-cni with these capabilities alone. It returns output and exit code.
func (w *world) bounded(capabilities string, args ...string) (string, int) {
	w.t.Helper()
	c := w.command(w.Node, args...)
	args = append([]string{"--bounding-set", capabilities, "--inh-caps", capabilities, "--no-new-privs"}, c.Args...)
	out, err := w.Node.Command(soon(w.t), "setpriv", args...).CombinedOutput()
	return string(out), code(err)
}

// inspect returns the JSON output of masq-cni inspect in the node.
func inspect[T any](w *world, args ...string) (out T) {
	w.t.Helper()
	node := len(args) == 0
	args = append([]string{"inspect"}, append(args, "-o", "json")...)
	b, err := w.command(w.Node, args...).Output()
	if err != nil && (!node || code(err) != 1) { // exit code 1: there are problems
		w.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		w.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, b)
	}
	return out
}

// attachNamed attaches a container with a Kubernetes namespace and name.
func (w *world) attachNamed(namespace, name string, conf keys) *pod {
	w.t.Helper()
	p := w.pod(name)
	p.runtime.ContainerID = name + strings.Repeat("0123456789", 6)
	p.runtime.Args = [][2]string{{"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", name}, {"IgnoreUnknown", "1"}}
	p.attach(w.conflist("1.1.0", conf))
	return p
}

// owner is the owner that inspect must show for flows of the pod.
func (p *pod) owner() report.Owner {
	return report.Owner{
		Network: "net", ContainerID: p.runtime.ContainerID, Interface: "eth0",
		PodNamespace: p.runtime.Args[0][1], PodName: p.runtime.Args[1][1],
	}
}

// sole returns the only element, and fails if there is not exactly one.
func sole[T any](t testing.TB, all []T) T {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("%d elements, want one: %+v", len(all), all)
	}
	return all[0]
}

func source(t report.Tuple) netip.AddrPort { return netip.AddrPortFrom(t.Source, t.SourcePort) }

func destination(t report.Tuple) netip.AddrPort {
	return netip.AddrPortFrom(t.Destination, t.DestinationPort)
}

func portText(p uint16) string {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), p).String()[len("0.0.0.0:"):]
}

// fromPort has containers, and the node for nil, connect from one port to port 80 of the
// server until the test ends. It returns the server's address and the sources that it sees.
func (w *world) fromPort(port uint16, plan nstest.Plan, from ...*pod) (netip.AddrPort, map[netip.AddrPort]*pod) {
	w.t.Helper()
	server := assert.Must(w.Server.ServeTCP(at(plan.Server, 80)))(w.t)
	seen := map[netip.AddrPort]*pod{}
	for i, p := range from {
		ns := w.Node
		if p != nil {
			ns = p.NS
		}
		c := assert.Must(ns.Dial(soon(w.t), "tcp", netip.AddrPortFrom(netip.Addr{}, port), server.Addr()))(w.t)
		w.t.Cleanup(func() { _ = c.Close() })
		_, err := io.WriteString(c, "ECHO\nx")
		assert.NoError(w.t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		assert.NoError(w.t, err)
		seen[assert.Must(server.WaitSources(soon(w.t), i+1))(w.t)[i]] = p
	}
	if len(seen) != len(from) {
		w.t.Fatalf("the server does not see %d sources: %v", len(from), seen)
	}
	return server.Addr(), seen
}

// TestInspectSamePort: two containers and the node itself send to one server from the same
// port. inspect shows which container is behind each port that the server sees.
func TestInspectSamePort(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	web, db := w.attachNamed("shop", "web", w.masq()), w.attachNamed("shop", "db", w.masq())
	const port = 40000
	for _, plan := range w.Plans() {
		server, seen := w.fromPort(port, plan, web, db, nil)
		for from, p := range seen {
			flow := sole(t, inspect[[]report.Flow](w, "flows", "--src", from.Addr().String(), "--sport", portText(from.Port()), "--dst", plan.Server.String(), "--proto", "tcp"))
			if source(flow.Translated) != from || destination(flow.Translated) != server || flow.State != "established" {
				t.Errorf("behind %s is %+v", from, flow)
			}
			if p == nil {
				if flow.Owner != (report.Owner{}) || flow.NAT != "none" || flow.Direction != "" {
					t.Errorf("the node's own flow is %+v", flow)
				}
				continue
			}
			if flow.Owner != p.owner() || flow.Direction != report.Out || flow.NAT != "snat" ||
				source(flow.Original) != at(p.addr(plan.Server), port) {
				t.Errorf("behind %s is %+v, not %s", from, flow, p.Name())
			}
		}
		for _, p := range []*pod{web, db} {
			for _, name := range []string{"shop/" + p.runtime.Args[1][1], p.runtime.ContainerID[:12]} {
				flow := sole(t, inspect[[]report.Flow](w, "flows", "--pod", name, "--sport", "40000", "--dst", plan.Server.String()))
				if flow.Owner != p.owner() {
					t.Errorf("--pod %s: %+v", name, flow)
				}
			}
		}
		// The control: without the records flows have no owner.
		out := assert.Must(w.Node.Command(soon(t), built("masq-cni"), "--state-dir", t.TempDir(), "inspect", "flows", "--dst", plan.Server.String(), "--sport", "40000", "-o", "json").Output())(t)
		var flows []report.Flow
		assert.NoError(t, json.Unmarshal(out, &flows))
		if len(flows) != 3 || slices.ContainsFunc(flows, func(f report.Flow) bool { return f.Owner != report.Owner{} }) {
			t.Errorf("without records: %+v", flows)
		}
	}
	for _, p := range inspect[[]report.Attachment](w, "pods") {
		if p.Flows != 2 || p.Translated != 2 || p.Begun == nil || *p.Begun != 2 || !p.Ready {
			t.Errorf("%+v", p)
		}
	}
}

// TestInspectFTP: inspect shows control and data connections as flows of the container
// that fetches, whichever side opens them.
func TestInspectFTP(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	s := w.vsftpd(21)
	conf := w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}})
	fetch, other := w.attachNamed("ftp", "fetch", conf), w.attachNamed("ftp", "other", conf)
	for _, plan := range w.Plans() {
		family := []string{"--dst", plan.Server.String()}
		other.login(t, at(plan.Server, s.port))
		c := fetch.login(t, at(plan.Server, s.port))
		l := assert.Must(c.announce())(t)

		helpers := inspect[report.Helpers](w, "helpers")
		mine := slices.DeleteFunc(helpers.Control, func(f report.Flow) bool { return f.Owner != fetch.owner() || f.Original.Destination != plan.Server })
		control := sole(t, mine)
		if control.Helper != "ftp" || control.NAT != "snat" || control.Direction != report.Out || len(helpers.Control) < 2 {
			t.Errorf("control connections: %+v", helpers.Control)
		}
		e := sole(t, helpers.Expectations)
		if e.Owner != fetch.owner() || e.Helper != "ftp" || e.Master != control.Original || e.Expected.Source != plan.Server ||
			e.Expected.Destination != plan.Node || e.Expected.DestinationPort != portOf(l.Addr()) {
			t.Errorf("expectation: %+v", e)
		}

		assert.NoError(t, c.PrintfLine("RETR file"))
		data := assert.Must(l.Accept())(t)
		flows := inspect[[]report.Flow](w, "flows", "--pod", "ftp/fetch", "--nat", "dnat", "--src", plan.Server.String())
		f := sole(t, flows)
		if f.Owner != fetch.owner() || f.Direction != report.In || f.Master != control.Original ||
			f.Translated.Destination != fetch.addr(plan.Server) || source(f.Original) != data.RemoteAddr().(*net.TCPAddr).AddrPort() {
			t.Errorf("data connection from the server: %+v", f)
		}
		got := assert.Must(io.ReadAll(data))(t)
		assert.NoError(t, data.Close())
		if !bytes.Equal(got, s.content) {
			t.Errorf("%d bytes, want %d", len(got), len(s.content))
		}

		// Passive: the container opens the connection, and only the helper knows its purpose.
		if content, log, err := fetch.lftp(t, at(plan.Server, s.port), true); err != nil || !bytes.Equal(content, s.content) {
			t.Errorf("%v\n%s", err, log)
		}
		flows = inspect[[]report.Flow](w, append([]string{"flows", "--pod", "ftp/fetch", "--nat", "snat"}, family...)...)
		announced := slices.DeleteFunc(flows, func(f report.Flow) bool { return f.Master == report.Tuple{} })
		if f := sole(t, announced); f.Direction != report.Out || f.Owner != fetch.owner() || f.Master.Source != fetch.addr(plan.Server) {
			t.Errorf("data connection to the server: %+v", f)
		}
		// The control: the other container has fetched nothing.
		for _, f := range inspect[[]report.Flow](w, append([]string{"flows", "--pod", "ftp/other"}, family...)...) {
			if f.Owner != other.owner() || f.Master != (report.Tuple{}) {
				t.Errorf("flows of the other container: %+v", f)
			}
		}
	}
}

// TestInspectICMP: two containers send echo requests with the same ID, which the node
// translates to two IDs.
func TestInspectICMP(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	a, b := w.attachNamed("ns", "a", w.masq()), w.attachNamed("ns", "b", w.masq())
	const id = 4711
	for _, plan := range w.Plans() {
		arrived := assert.Must(w.Server.Capture("eth0", isPing))(t)
		for i, p := range []*pod{a, b} {
			assert.NoError(t, p.SendRaw(nstest.EchoPacket(p.addr(plan.Server), plan.Server, id, uint16(i+1), nil)))
		}
		all := assert.Must(arrived.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == 2 }))(t)
		for i, p := range []*pod{a, b} {
			at := slices.IndexFunc(all, func(q nstest.Packet) bool { return q.ICMPRest&0xffff == uint32(i+1) })
			if at < 0 {
				t.Fatalf("%v", all)
			}
			seen := uint16(all[at].ICMPRest >> 16)
			// The server sees the translated ID.
			f := sole(t, inspect[[]report.Flow](w, "flows", "--sport", portText(seen), "--dst", plan.Server.String(), "--nat", "snat", "--pod", "ns/"+p.runtime.Args[1][1]))
			if f.Owner != p.owner() || f.Translated.ICMP.ID != seen || f.Original.ICMP.ID != id ||
				f.Translated.Source != plan.Node || f.Original.ICMP.Type != all[at].ICMPType {
				t.Errorf("the server sees %d; %+v", seen, f)
			}
		}
	}
}

// TestInspectCounters: packets and bytes equal what the far end saw, and flows have begin
// and duration. Without accounting, inspect shows no counters.
func TestInspectCounters(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	for _, counted := range []bool{false, true} {
		if counted {
			assert.NoError(t, errors.Join(w.Node.Sysctl("net.netfilter.nf_conntrack_acct", "1"), w.Node.Sysctl("net.netfilter.nf_conntrack_timestamp", "1")))
		}
		for i, plan := range w.Plans() {
			port := uint16(8000 + i)
			if counted {
				port += 100
			}
			server := assert.Must(w.Server.ListenUDP(at(plan.Server, port)))(t)
			defer func() { _ = server.Close() }()
			seen := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool {
				return q.Proto == unix.IPPROTO_UDP && (q.SrcPort == port || q.DstPort == port)
			}))(t)
			client := assert.Must(p.DialUDP(at(p.addr(plan.Server), 5000+port), at(plan.Server, port)))(t)
			defer func() { _ = client.Close() }()
			buffer := make([]byte, 2000)
			var from netip.AddrPort
			for _, size := range []int{0, 1, 700, 1400} {
				_, err := client.Write(buffer[:size])
				assert.NoError(t, err)
				_, from, err = server.ReadFromUDPAddrPort(buffer)
				assert.NoError(t, err)
			}
			_, err := server.WriteToUDPAddrPort(buffer[:500], from)
			assert.NoError(t, err)
			_, err = client.Read(buffer)
			assert.NoError(t, err)
			var want struct{ packets, bytes report.Sides }
			for _, q := range assert.Must(seen.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == 5 }))(t) {
				if q.Outgoing {
					want.packets.Reply++
					want.bytes.Reply += uint64(q.Length)
				} else {
					want.packets.Original++
					want.bytes.Original += uint64(q.Length)
				}
			}
			if !counted {
				want.packets, want.bytes = report.Sides{}, report.Sides{}
			}
			f := sole(t, inspect[[]report.Flow](w, "flows", "--pod", "ns/p", "--dport", portText(port)))
			if f.Packets != want.packets || f.Bytes != want.bytes || f.Begin.IsZero() == counted || (f.Duration == 0) == counted {
				t.Errorf("counted %t: %+v, the far end saw %+v", counted, f, want)
			}
		}
	}
	node := inspect[report.Node](w)
	if !node.Conntrack.Accounting || !node.Conntrack.Timestamps || node.Conntrack.Limit == 0 || node.Flows.Translated != 4 {
		t.Errorf("%+v\n%+v", node.Conntrack, node.Flows)
	}
	attachment := sole(t, inspect[[]report.Attachment](w, "pods"))
	if attachment.Bytes.Sum() == 0 || attachment.Flows < 4 {
		t.Errorf("%+v", attachment)
	}
}

// TestInspectFromElsewhere inspects the node from another namespace.
func TestInspectFromElsewhere(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	_, err := p.Ping(soon(t), w.V4.Server, nstest.PingOptions{})
	assert.NoError(t, err)
	from := func(n *nstest.NS, args ...string) (flows []report.Flow, node report.Node) {
		t.Helper()
		assert.NoError(t, json.Unmarshal(assert.Must(w.command(n, append(args, "inspect", "flows", "--proto", "icmp", "-o", "json")...).Output())(t), &flows))
		assert.NoError(t, json.Unmarshal(assert.Must(w.command(n, append(args, "inspect", "-o", "json")...).Output())(t), &node))
		return flows, node
	}
	flows, node := from(w.Server, "--netns", w.Node.Path())
	if f := sole(t, flows); f.Owner != p.owner() {
		t.Errorf("%+v", f)
	}
	if !node.Table.Exists || node.Attachments.Total != 1 || len(node.Uplinks) != 2 || node.Uplinks[0].Address != w.V4.Node || node.Uplinks[0].Interface != "uplink" {
		t.Errorf("%+v", node)
	}
	// The control: in another node's namespace nothing of it is visible.
	if flows, node := from(w.Server); len(flows) != 0 || node.Attachments.Total != 0 || node.Table.Exists {
		t.Errorf("in the server: %+v, %+v", flows, node)
	}
}

// code returns the exit code of a command.
func code(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// TestInspectDrift tests exit codes, the differences, and the marked rules.
func TestInspectDrift(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	drift := func(want int) report.Drift {
		t.Helper()
		out, err := w.command(w.Node, "inspect", "drift", "-o", "json").Output()
		if code(err) != want {
			t.Fatalf("%v instead of %d\n%s", err, want, out)
		}
		var d report.Drift
		assert.NoError(t, json.Unmarshal(out, &d))
		return d
	}
	states := func() map[string]string {
		out := map[string]string{}
		for _, r := range inspect[[]report.Rule](w, "rules") {
			out[r.ID] = r.State
			if r.Why == "" || r.Text == "" && r.State != report.Unexpected {
				t.Errorf("%+v", r)
			}
		}
		return out
	}
	drift(0) // neither attachments nor table
	p := w.attachNamed("ns", "p", w.masq())
	if d := drift(0); d.Drift || len(d.Changes) != 0 {
		t.Errorf("%+v", d)
	}
	for id, state := range states() {
		if state != report.OK {
			t.Errorf("%s is %s", id, state)
		}
	}
	_, err := p.Ping(soon(t), w.V4.Server, nstest.PingOptions{})
	assert.NoError(t, err)
	for _, r := range inspect[[]report.Rule](w, "rules") {
		if want := uint64(1); r.ID == "policy/egress" && (!r.Counts || r.Packets != want) {
			t.Errorf("%+v", r)
		}
	}

	w.takeRule("postrouting", "postrouting/policy4")
	w.nft("add rule inet masq forward counter accept comment \"theirs\"")
	w.nft("delete element inet masq policy4 { %s }", p.addr(w.V4.Node))
	d := drift(1)
	for _, name := range []string{"postrouting postrouting/policy4", `forward "theirs"`, "policy4 " + p.addr(w.V4.Node).String()} {
		if !slices.ContainsFunc(d.Changes, func(c report.Change) bool { return c.Name == name }) {
			t.Errorf("%s is not among %+v", name, d.Changes)
		}
	}
	if s := states(); s["postrouting/policy4"] != report.Missing || s["theirs"] != report.Unexpected || s["postrouting/policy6"] != report.OK {
		t.Errorf("%v", s)
	}
	pods := inspect[[]report.Pod](w, "pod", "ns/p")
	if x := sole(t, pods); len(x.Drift) == 0 || x.Owner != p.owner() || x.Flows != 1 {
		t.Errorf("%+v", x)
	}
	if n := inspect[report.Node](w); n.Table.Drift != len(d.Changes) || n.Healthy || n.Problems[0].Kind != report.KindDrift || n.Daemon.Running {
		t.Errorf("%+v", n)
	}

	// With masqd it is repaired.
	masqd := w.daemon()
	until(t, "the drift is gone", func() bool { return w.command(w.Node, "inspect", "drift").Run() == nil })
	if n := inspect[report.Node](w); !n.Daemon.Running || n.Daemon.PID != masqd.Process.Pid || n.Daemon.Elsewhere || n.Table.Drift != 0 {
		t.Errorf("%+v", n)
	}
	// A container does not see masqd's process, but it sees its lock.
	out := assert.Must(w.Node.Command(soon(t), "unshare", "--pid", "--fork", "--mount-proc", built("masq-cni"), "--state-dir", filepath.Join(w.dir, "state"), "inspect", "-o", "json").Output())(t)
	var n report.Node
	assert.NoError(t, json.Unmarshal(out, &n))
	if !reflect.DeepEqual(n.Daemon, report.Daemon{Running: true, Helpers: []string{"pna", "rtsp", "talk"}}) {
		t.Errorf("%+v", n.Daemon)
	}
	masqd.end()
	if n := inspect[report.Node](w); n.Daemon.Running {
		t.Errorf("%+v", n.Daemon)
	}
}

// TestInspectNodePolicy: the node's policy that masqd has applied is no drift, while masqd
// runs and after it ended. Another policy is.
func TestInspectNodePolicy(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.attachNamed("ns", "p", w.masq().With(keys{"mssClamp": nil}))
	file := w.writeConfig("sourceCIDRs: [10.244.0.0/16]\nhelpers: {ftp: [21]}\ntoPorts: 20000-29999\n")
	masqd := w.daemon("--config", file)
	no := func(when string) {
		t.Helper()
		until(t, "there is no drift "+when, func() bool {
			n := inspect[report.Node](w)
			// The policy of an attachment contains the network's own subnets.
			return n.Table.Drift == 0 && len(n.Policies) == 2 && n.Policies[0].Attachments == 1 && n.Policies[1].Sources &&
				len(n.Policies[0].ToPorts) == 1 && len(n.Policies[1].ToPorts) == 1
		})
	}
	no("while masqd runs")
	masqd.end()
	no("when it has ended")
	// The control: the policy changes, and the kernel does not.
	assert.NoError(t, w.Node.Do(func() error {
		records, err := store.Open(filepath.Join(w.dir, "state"))
		if err != nil {
			return err
		}
		node, err := records.Node()
		if err != nil {
			return err
		}
		node.RandomFully = false
		return records.PutNode(node)
	}))
	if n := inspect[report.Node](w); n.Table.Drift == 0 {
		t.Errorf("%+v", n)
	}
}
