package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// probeFixtures make the faults of doctor's probe checks.
var probeFixtures = []doctorFixture{
	{check: "probe-refused", args: probeTLS, fault: func(l *doctorLab) { assert.NoError(l.t, l.target.Close()) }},
	{check: "probe-unanswered", args: probeTLS, fault: func(l *doctorLab) {
		l.routerRoute(netlink.Route{Dst: prefixNet(netip.PrefixFrom(l.V4.Server, 32)), Type: unix.RTN_BLACKHOLE})
	}},
	{check: "path-mtu-in", args: probeTLS, fault: func(l *doctorLab) { l.narrowLink("tonode", l.V4.UplinkNet) }},
	{check: "path-mtu-out", args: probeTLS, fault: func(l *doctorLab) { l.narrowLink("toserver", l.V4.ServerNet) }},
}

// probeTLS has doctor probe a TLS server from the first container.
func probeTLS(l *doctorLab) []string {
	l.t.Helper()
	l.target = assert.Must(l.Server.ServeTLS(at(l.V4.Server, 443)))(l.t)
	return []string{"pod", "c0", "--to", l.target.Addr().String()}
}

// narrowLink makes the router forward to a network only packets of at most 700 bytes, without
// an ICMP error for larger ones.
func (l *doctorLab) narrowLink(link string, to netip.Prefix) {
	l.t.Helper()
	assert.NoError(l.t, l.Router.DropPMTU())
	l.routerRoute(netlink.Route{Dst: prefixNet(to), MTU: 700, MTULock: true, Scope: netlink.SCOPE_LINK}, link)
}

// routerRoute adds or replaces a route of the router.
func (l *doctorLab) routerRoute(r netlink.Route, link ...string) {
	l.t.Helper()
	assert.NoError(l.t, l.Router.Do(func() error {
		for _, name := range link {
			found, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			r.LinkIndex, r.Protocol = found.Attrs().Index, unix.RTPROT_KERNEL
		}
		return netlink.RouteReplace(&r)
	}))
}

// diagnose probes a destination from a container.
func (w *world) diagnose(p *pod, to netip.AddrPort, args ...string) doctor.Report {
	w.t.Helper()
	l := &doctorLab{world: w}
	for _, dir := range []string{l.confDir(), l.binDir()} {
		assert.NoError(w.t, os.MkdirAll(dir, 0o755))
	}
	r, _ := l.doctor(append([]string{"pod", p.runtime.ContainerID, "--to", to.String()}, args...)...)
	return r
}

// TestDoctorDeadGateway: if the gateway of a container, or a target on its link, does not answer,
// the finding names it.
func TestDoctorDeadGateway(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("c0", w.conflist("1.1.0", w.masq()))
	wants := func(to netip.AddrPort, words string) {
		t.Helper()
		f := find(w.diagnose(p, to), "probe-unanswered")
		if f == nil || !strings.HasSuffix(f.Message, words) || len(f.Evidence) == 0 || !strings.HasPrefix(f.Evidence[0].Source, "neighbor ") {
			t.Errorf("%+v, want %q", f, words)
		}
	}
	ip := func(args ...string) {
		t.Helper()
		assert.NoError(t, p.Command(soon(t), "ip", args...).Run())
	}
	ip("route", "replace", "default", "via", "10.88.0.99", "dev", "eth0", "onlink")
	wants(at(w.V4.Server, 443), "the container's gateway 10.88.0.99 does not answer ARP")
	ip("-6", "route", "replace", "default", "via", "fe80::99", "dev", "eth0")
	wants(at(w.V6.Server, 443), "the container's gateway fe80::99 does not answer neighbor discovery")
	ip("route", "replace", "default", "dev", "eth0")
	wants(at(w.V4.Server, 443), "it does not answer ARP on interface eth0 of the container")
}

// find returns the finding of a check, or nil.
func find(r doctor.Report, check string) *doctor.Finding {
	for i := range r.Findings {
		if r.Findings[i].Check == check {
			return &r.Findings[i]
		}
	}
	return nil
}

// wantNarrow checks a finding of path-mtu-in and the drawn path.
func wantNarrow(t testing.TB, r doctor.Report, to netip.Addr, mss string, words ...string) {
	t.Helper()
	f := find(r, "path-mtu-in")
	if f == nil {
		t.Fatalf("no finding: %+v, not checked %+v", r.Findings, r.NotChecked)
	}
	for _, word := range words {
		if !strings.Contains(f.String(), word) {
			t.Errorf("%q does not have %q", f, word)
		}
	}
	if want := "masq-cni clamp add " + netip.PrefixFrom(to, to.BitLen()).String() + " " + mss; len(f.Remedy.Commands) != 1 || f.Remedy.Commands[0] != want {
		t.Errorf("remedy %q, want %q", f.Remedy.Commands, want)
	}
	if found := find(r, "path-mtu-out"); found != nil {
		t.Errorf("the same link a second time: %s", found)
	}
	if r.Path == nil {
		t.Fatal("no path")
	}
	narrowest := ""
	for _, s := range r.Path.Stations {
		t.Logf("%+v", s)
		if s.Narrowest {
			narrowest = s.Name
		}
	}
	if !strings.Contains(f.Message, narrowest) || narrowest == "" {
		t.Errorf("the narrowest station is %q, the finding is %q", narrowest, f.Message)
	}
}

// TestDoctorNarrowUplink is the founding story: the container offers an MSS of 536, the uplink
// has an MTU of 212, ICMP is filtered, and the clamp is off.
func TestDoctorNarrowUplink(t *testing.T) {
	for _, clamp := range []any{"off", nil} {
		w := newWorld(t, nstest.Uplink{MTU: 212, DropPMTU: true})
		p := w.attach("c0", w.conflist("1.1.0", w.masq().With(keys{"mtu": 576, "mssClamp": clamp})))
		srv := assert.Must(w.Server.ServeTLS(at(w.V4.Server, 443)))(t).Addr()
		for range 2 { // the container learns nothing from the first probe
			r := w.diagnose(p, srv)
			if clamp == "off" {
				wantNarrow(t, r, srv.Addr(), "172", "an MSS of 536 is offered, 172 is possible", "uplink uplink of the node, MTU 212")
			} else if f := find(r, "path-mtu-in"); f != nil || find(r, "path-mtu-out") != nil {
				t.Errorf("control: %+v", r.Findings)
			}
		}
		if clamp == "off" {
			w.fixNarrow(p, w.Server, srv)
		}
	}
}

// fixNarrow has doctor fix a narrow path: a download freezes before, and passes after it. The
// commands that doctor names undo it.
func (w *world) fixNarrow(p *pod, server *nstest.NS, srv netip.AddrPort) {
	t := w.t
	t.Helper()
	plain := assert.Must(server.ServeTCP(at(srv.Addr(), 0)))(t).Addr()
	frozen := func(when string) {
		t.Helper()
		if got, err := p.Download(briefly(t), plain, narrowSize); err == nil || got.Bytes != 0 {
			t.Errorf("%s: %+v, %v; want the download frozen", when, got, err)
		}
	}
	frozen("before the fix")
	r := w.diagnose(p, srv, "--fix", "--yes")
	for _, f := range r.Remaining {
		if f.Check == "path-mtu-in" || f.Check == "path-mtu-out" {
			t.Errorf("after the fix: %s", f)
		}
	}
	if got, err := p.Download(soon(t), plain, narrowSize); err != nil || got.Bytes != narrowSize {
		t.Errorf("after the fix: %+v, %v", got, err)
	}
	f := find(r, "path-mtu-in")
	if f == nil || f.Remedy.Fix == nil || len(f.Remedy.Fix.Undo) != 1 {
		t.Fatalf("no fix: %+v", r.Findings)
	}
	// If the uplink is narrow, mss-clamp has a fix too.
	for _, applied := range r.Fixes {
		for _, command := range applied.Undo {
			undo := strings.Fields(command)
			if out, err := w.command(w.Node, undo[1:]...).CombinedOutput(); err != nil || undo[0] != "masq-cni" {
				t.Fatalf("%s: %v\n%s", undo, err, out)
			}
		}
	}
	frozen("after the undo commands")
}

// farPath is a path with two routers beyond the node, between which the link is narrow and
// silent. The node has the address of its uplink, and the clamp is the default, "pmtu".
type farPath struct {
	*world
	server *nstest.NS
}

func newFarPath(t testing.TB, mtu int) *farPath {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	f := &farPath{world: w}
	second := assert.Must(w.lab.Namespace("router2"))(t)
	f.server = assert.Must(w.lab.Namespace("server2"))(t)
	end := func(n *nstest.NS, name, addr string, more ...string) nstest.End {
		e := nstest.End{NS: n, Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}
		for _, a := range more {
			if mtu >= 1280 {
				e.Addresses = append(e.Addresses, netip.MustParsePrefix(a))
			}
		}
		return e
	}
	assert.NoError(t, nstest.Connect(end(w.Router, "far", "10.9.0.1/24", "fd00:9::1/64"), end(second, "near", "10.9.0.2/24", "fd00:9::2/64"), mtu))
	assert.NoError(t, nstest.Connect(end(second, "far", "203.0.113.1/24", "2001:db8:3::1/64"), end(f.server, "eth0", "203.0.113.2/24", "2001:db8:3::2/64"), 1500))
	route := func(n *nstest.NS, to, via string) {
		if a := netip.MustParseAddr(via); a.Is4() || mtu >= 1280 {
			assert.NoError(t, n.Route(netip.MustParsePrefix(to), a))
		}
	}
	route(w.Router, "203.0.113.0/24", "10.9.0.2")
	route(w.Router, "2001:db8:3::/64", "fd00:9::2")
	route(second, w.V4.UplinkNet.String(), "10.9.0.1")
	route(second, w.V6.UplinkNet.String(), "fd00:9::1")
	route(f.server, "0.0.0.0/0", "203.0.113.1")
	route(f.server, "::/0", "2001:db8:3::1")
	assert.NoError(t, second.Forward())
	assert.NoError(t, w.Router.DropPMTU())
	assert.NoError(t, second.DropPMTU())
	return f
}

// TestDoctorNarrowBeyondNode is the founding story with a narrow link two routers away, of
// which the node's routes know nothing.
func TestDoctorNarrowBeyondNode(t *testing.T) {
	for _, c := range []struct {
		mtu      int
		server   string
		mss      string
		sentence []string
	}{
		{212, "203.0.113.2", "172", []string{"an MSS of 1460 is offered, 172 is possible", "between 192.0.2.1 and 10.9.0.2"}},
		{1280, "2001:db8:3::2", "1220", []string{"an MSS of 1440 is offered, 1220 is possible", "between 2001:db8:1::1 and fd00:9::2"}},
		{1500, "203.0.113.2", "", nil}, // the control
		{1500, "2001:db8:3::2", "", nil},
	} {
		t.Run(fmt.Sprintf("MTU %d, %s", c.mtu, c.server), func(t *testing.T) {
			f := newFarPath(t, c.mtu)
			p := f.attach("c0", f.conflist("1.1.0", f.masq()))
			srv := assert.Must(f.server.ServeTLS(at(netip.MustParseAddr(c.server), 443)))(t).Addr()
			r := f.diagnose(p, srv)
			switch {
			case c.mss != "":
				wantNarrow(t, r, srv.Addr(), c.mss, c.sentence...)
				f.fixNarrow(p, f.server, srv)
			case find(r, "path-mtu-in") != nil || find(r, "path-mtu-out") != nil:
				t.Errorf("control: %+v", r.Findings)
			}
		})
	}
}

// TestDoctorProbeFromNode: without a pod the node itself sends. A name is resolved.
func TestDoctorProbeFromNode(t *testing.T) {
	l := newDoctorLab(t, doctorFixture{})
	// Translation leaves out the ports of other listeners, so that masqd would change rules meanwhile.
	loopback4, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	local := []*nstest.LargeServer{assert.Must(l.Node.ServeTLS(at(loopback4, 8443)))(t), assert.Must(l.Node.ServeTLS(at(loopback6, 8443)))(t)}
	if r, exit := l.doctor("--to", "localhost:8443"); exit != 0 || len(r.NotChecked) > 0 || r.Path == nil {
		t.Errorf("exit code %d: %+v", exit, r)
	}
	for _, s := range local {
		assert.NoError(t, s.Close())
	}
	if r, exit := l.doctor("--to", "localhost:8443"); exit != 1 || find(r, "probe-refused") == nil || !strings.HasSuffix(r.Findings[0].Message, " of the node") {
		t.Errorf("exit code %d: %+v", exit, r.Findings)
	}
	server := at(l.V4.Server, 443)
	assert.Must(l.Server.ServeTLS(server))(t)
	if r, exit := l.doctor("--to", server.String()); exit != 0 || len(r.NotChecked) > 0 {
		t.Errorf("exit code %d: %+v", exit, r)
	}
	udp := assert.Must(l.Server.ServeUDP(at(l.V4.Server, 3000)))(t).Addr()
	if r, exit := l.doctor("pod", "c0", "--to", udp.String()+"/udp"); exit != 0 || len(r.NotChecked) > 0 {
		t.Errorf("UDP: exit code %d: %+v", exit, r)
	}
}

// prefixNet returns a prefix as package netlink has it.
func prefixNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
