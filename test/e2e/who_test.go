package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// who returns the JSON output of masq-cni who in the node; found is by its exit code.
func (w *world) who(args ...string) (flows []report.Flow, found bool) {
	w.t.Helper()
	return whoIn(w.t, w.command(w.Node, append([]string{"who", "-o", "json"}, args...)...))
}

func whoIn(t testing.TB, c *nstest.Command) (flows []report.Flow, found bool) {
	t.Helper()
	out, err := c.Output()
	if code(err) != 0 && code(err) != 1 {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	if err := json.Unmarshal(out, &flows); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	if found = err == nil; found != (len(flows) > 0) {
		t.Fatalf("%v: exit code %d with %d flows", c.Args, code(err), len(flows))
	}
	return flows, found
}

// whoText returns the text for people, and the exit code.
func (w *world) whoText(args ...string) (string, int) {
	w.t.Helper()
	out, err := w.command(w.Node, append([]string{"who"}, args...)...).CombinedOutput()
	return string(out), code(err)
}

// questions are all ways to ask for the flow that a server sees from an endpoint: by dumps and
// by lookups. The port is "" for ICMP.
func questions(from netip.AddrPort, proto string, to netip.Addr, port string) [][]string {
	all := [][]string{
		{from.String()},
		{from.String() + "/" + proto},
		{from.String(), "--to", to.String()},
		{from.String() + "/" + strings.ToUpper(proto), "--to", to.String()},
	}
	if port != "" {
		whole := net.JoinHostPort(to.String(), port)
		all = append(all, []string{from.String() + "/" + proto, "--to", whole}, []string{from.String(), "--to", whole})
	}
	return all
}

// TestWhoSamePort: two containers and the node itself send to one server from the same port.
// who distinguishes them by the port that the server sees.
func TestWhoSamePort(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	web, db := w.attachNamed("shop", "web", w.masq()), w.attachNamed("shop", "db", w.masq())
	const port = 40000
	for _, plan := range w.Plans() {
		server, seen := w.fromPort(port, plan, web, db, nil)
		for from, p := range seen {
			for _, q := range questions(from, "tcp", plan.Server, "80") {
				flows, _ := w.who(q...)
				f := sole(t, flows)
				switch {
				case source(f.Translated) != from || destination(f.Translated) != server || f.State != "established":
					t.Errorf("%v is %+v", q, f)
				case p == nil && (f.Owner != (report.Owner{}) || f.NAT != "none"):
					t.Errorf("%v is the node, not %+v", q, f)
				case p != nil && (f.Owner != p.owner() || f.Direction != report.Out || source(f.Original) != at(p.addr(plan.Server), port)):
					t.Errorf("%v is %s, not %+v", q, p.Name(), f)
				}
			}
			out, exit := w.whoText(from.String())
			want := "note: " + from.Addr().String() + " is an address of the node, on interface uplink; the flow is the node's own\n"
			if p != nil {
				want = "\nshop/" + p.runtime.Args[1][1] + " "
			}
			if exit != 0 || !strings.Contains(out, want) || strings.Contains(out, "note:") != (p == nil) {
				t.Errorf("%s: %d\n%s", from, exit, out)
			}
			// The control: without the records the flow is found, and has no owner.
			flows, _ := whoIn(t, w.Node.Command(soon(t), built("masq-cni"), "--state-dir", t.TempDir(), "who", "-o", "json", from.String()))
			if f := sole(t, flows); f.Owner != (report.Owner{}) || source(f.Translated) != from {
				t.Errorf("without records %s is %+v", from, f)
			}
		}
		// No flow leaves with these ports.
		for _, q := range [][]string{
			{at(plan.Node, 1).String()},
			{at(plan.Server, 80).String()},
			{at(web.addr(plan.Server), port).String()},
			{at(plan.Node, port).String() + "/udp"},
			{at(plan.Node, port).String(), "--to", plan.Router.String()},
			{at(plan.Node, port).String() + "/tcp", "--to", at(plan.Server, 81).String()},
			{at(plan.Node, port).String(), "--to", at(plan.Server, 81).String()},
		} {
			if flows, found := w.who(q...); found {
				t.Errorf("%v is %+v", q, flows)
			}
			if out, exit := w.whoText(q...); exit != 1 || !strings.Contains(out, "flow leaves as ") || !strings.Contains(out, "; the conntrack table has ") {
				t.Errorf("%v: %d\n%s", q, exit, out)
			}
		}
	}
	out, _ := w.whoText(at(web.addr(w.V4.Node), port).String())
	if want := "is the own address of shop/web, whose translated flows leave with another address; to list them: masq-cni inspect flows --pod shop/web\n"; !strings.Contains(out, want) {
		t.Errorf("missing %q:\n%s", want, out)
	}
}

// TestWhoProtocols: UDP, and ICMP echo requests by the IDs that the server sees.
func TestWhoProtocols(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	a, b := w.attachNamed("ns", "a", w.masq()), w.attachNamed("ns", "b", w.masq())
	for _, plan := range w.Plans() {
		is := func(p *pod, proto string, from netip.AddrPort, port string) {
			t.Helper()
			for _, q := range questions(from, proto, plan.Server, port) {
				flows, _ := w.who(q...)
				f := sole(t, flows)
				if f.Owner != p.owner() || f.Protocol != proto || f.Translated.Source != plan.Node || max(f.Translated.SourcePort, f.Translated.ICMP.ID) != from.Port() {
					t.Errorf("%v is %+v, not %s", q, f, p.Name())
				}
			}
		}
		udp := assert.Must(w.Server.ServeUDP(at(plan.Server, 53)))(t)
		for i, p := range []*pod{a, b} {
			assert.NoError(t, p.EchoUDP(soon(t), at(p.addr(plan.Server), 5353), udp.Addr(), 10))
			is(p, "udp", assert.Must(udp.WaitSeen(soon(t), i+1))(t)[i].Source, "53")
		}
		proto := "icmp"
		if plan.Server.Is6() {
			proto = "icmpv6"
		}
		const id = 4711
		arrived := assert.Must(w.Server.Capture("eth0", isPing))(t)
		for i, p := range []*pod{a, b} {
			assert.NoError(t, p.SendRaw(nstest.EchoPacket(p.addr(plan.Server), plan.Server, id, uint16(i+1), nil)))
		}
		all := assert.Must(arrived.Wait(soon(t), func(all []nstest.Packet) bool { return len(all) == 2 }))(t)
		ids := map[uint16]bool{}
		for _, q := range all {
			p := []*pod{a, b}[q.ICMPRest&0xffff-1]
			ids[uint16(q.ICMPRest>>16)] = true
			is(p, proto, at(plan.Node, uint16(q.ICMPRest>>16)), "")
		}
		if len(ids) != 2 {
			t.Errorf("the server does not see two IDs: %v", all)
		}
	}
}

// TestWhoFTP: in active FTP, the server connects to the port that a container has announced.
// who returns that container.
func TestWhoFTP(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	s := w.vsftpd(21)
	fetch := w.attachNamed("ftp", "fetch", w.masq().With(keys{"helpers": keys{"ftp": []uint16{21}}}))
	for _, plan := range w.Plans() {
		c := fetch.login(t, at(plan.Server, s.port))
		l := assert.Must(c.announce())(t)
		expected := sole(t, inspect[report.Helpers](w, "helpers").Expectations).Expected
		announced := netip.AddrPortFrom(expected.Destination, expected.DestinationPort)
		// The control: before the connection there is no flow.
		if flows, found := w.who(announced.String()); found || announced.Addr() != plan.Node {
			t.Errorf("%s is %+v", announced, flows)
		}
		assert.NoError(t, c.PrintfLine("RETR file"))
		data := assert.Must(l.Accept())(t)
		for _, q := range questions(announced, "tcp", plan.Server, portText(portOf(data.RemoteAddr()))) {
			flows, _ := w.who(q...)
			f := sole(t, flows)
			if f.Owner != fetch.owner() || f.Direction != report.In || f.NAT != "dnat" || f.Translated.Destination != fetch.addr(plan.Server) {
				t.Errorf("%v is %+v", q, f)
			}
		}
		assert.NoError(t, data.Close())
	}
}

// TestWhoUntranslated: who names a container whose own address the server sees, and says that
// it is not translated. Without a record the owner is unknown.
func TestWhoUntranslated(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	p := w.attachNamed("ns", "direct", w.masq().With(keys{"nonMasqueradeCIDRs": []string{"198.51.100.0/24", "2001:db8:2::/64"}}))
	for _, plan := range w.Plans() {
		server := assert.Must(w.Server.ServeUDP(at(plan.Server, 9)))(t)
		own := at(p.addr(plan.Server), 1234)
		assert.NoError(t, p.EchoUDP(soon(t), own, server.Addr(), 1))
		if seen := sole(t, server.Seen()); seen.Source != own {
			t.Fatalf("the server sees %s", seen.Source)
		}
		for _, q := range questions(own, "udp", plan.Server, "9") {
			flows, _ := w.who(q...)
			if f := sole(t, flows); f.Owner != p.owner() || f.NAT != "none" || source(f.Translated) != own {
				t.Errorf("%v is %+v", q, f)
			}
		}
		want := fmt.Sprintf("note: %s is the container's own address; it leaves untranslated\n", own.Addr())
		if out, exit := w.whoText(own.String()); exit != 0 || !strings.HasSuffix(out, want) {
			t.Errorf("%d\n%s", exit, out)
		}
		out, err := w.Node.Command(soon(t), built("masq-cni"), "--state-dir", t.TempDir(), "who", own.String()).Output()
		if want := fmt.Sprintf("note: %s is unknown: ", own.Addr()); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("without records: %v\n%s", err, out)
		}
	}
}

// TestWhoFromElsewhere asks about the node from another namespace.
func TestWhoFromElsewhere(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 9)))(t)
	assert.NoError(t, p.EchoUDP(soon(t), netip.AddrPort{}, server.Addr(), 1))
	from := sole(t, server.Seen()).Source
	for _, q := range questions(from, "udp", w.V4.Server, "9") {
		flows, _ := whoIn(t, w.command(w.Server, append([]string{"who", "-o", "json", "--netns", w.Node.Path()}, q...)...))
		if f := sole(t, flows); f.Owner != p.owner() {
			t.Errorf("%v is %+v", q, f)
		}
		// The control: in another node's namespace there is no answer.
		if flows, found := whoIn(t, w.command(w.Server, append([]string{"who", "-o", "json"}, q...)...)); found {
			t.Errorf("in the server, %v is %+v", q, flows)
		}
	}
	out := assert.Must(w.command(w.Server, "__complete", "--netns", w.Node.Path(), "who", "").Output())(t)
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{w.V4.Node.String() + ":", "[" + w.V6.Node.String() + "]:", ":6"}) {
		t.Errorf("completion offers %q", got)
	}
}

// TestWhoExitCodes: a query that fails has another exit code than an answer without a flow.
func TestWhoExitCodes(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 9)))(t)
	assert.NoError(t, p.EchoUDP(soon(t), netip.AddrPort{}, server.Addr(), 1))
	from := sole(t, server.Seen()).Source
	whole := []string{from.String() + "/udp", "--to", server.Addr().String()}
	for capabilities, want := range map[string]int{"-all,+net_admin": 0, "-all": 2} {
		for _, q := range [][]string{{from.String()}, whole} {
			out, exit := w.bounded(capabilities, append([]string{"who"}, q...)...)
			if exit != want || strings.Contains(out, "CAP_NET_ADMIN is needed") != (want > 0) {
				t.Errorf("%v with %s: %d, not %d\n%s", q, capabilities, exit, want, out)
			}
		}
	}
	for _, word := range []string{"", "192.0.2.2", "192.0.2.2:1/x"} {
		if out, exit := w.whoText(word); exit != 2 {
			t.Errorf("%q: %d\n%s", word, exit, out)
		}
	}
	// A record that cannot be read: owners with other records are still named.
	other := w.attachNamed("ns", "other", w.masq())
	file := w.recordPath(other.runtime.ContainerID)
	text := assert.Must(os.ReadFile(file))(t)
	assert.NoError(t, os.WriteFile(file, text[:10], 0o600))
	if out, exit := w.whoText(whole...); exit != 0 || !strings.Contains(out, "ns/p") {
		t.Errorf("%d\n%s", exit, out)
	}
	assert.NoError(t, os.WriteFile(file, text, 0o600))
	mine := w.recordPath(p.runtime.ContainerID)
	text = assert.Must(os.ReadFile(mine))(t)
	assert.NoError(t, os.WriteFile(mine, text[:10], 0o600))
	if out, exit := w.whoText(whole...); exit != 2 || !strings.Contains(out, "not a record") {
		t.Errorf("%d\n%s", exit, out)
	}
	assert.NoError(t, os.WriteFile(mine, text, 0o600))
}
