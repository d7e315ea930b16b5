package e2e

import (
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

// narrow makes the router forward to a network only packets of at most 700 bytes, and say
// nothing about it.
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
// undo command that doctor names undoes it.
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
	undo := strings.Fields(f.Remedy.Fix.Undo[0])
	if out, err := w.command(w.Node, undo[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", undo, err, out)
	}
	frozen("after the undo command")
}

// farPath is a path with two routers beyond the node, between which the link is narrow and
// silent. The node has the address of its uplink, and the clamp is the default, "pmtu".
type farPath struct {
	*world
	server *nstest.NS
	addr   netip.Addr
}

func newFarPath(t testing.TB, mtu int) *farPath {
	t.Helper()
	w := newWorld(t, nstest.Uplink{})
	f := &farPath{world: w, addr: netip.MustParseAddr("203.0.113.2")}
	second := assert.Must(w.lab.Namespace("router2"))(t)
	f.server = assert.Must(w.lab.Namespace("server2"))(t)
	end := func(n *nstest.NS, name, addr string) nstest.End {
		return nstest.End{NS: n, Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}
	}
	assert.NoError(t, nstest.Connect(end(w.Router, "far", "10.9.0.1/24"), end(second, "near", "10.9.0.2/24"), mtu))
	assert.NoError(t, nstest.Connect(end(second, "far", "203.0.113.1/24"), end(f.server, "eth0", "203.0.113.2/24"), 1500))
	assert.NoError(t, w.Router.Route(netip.MustParsePrefix("203.0.113.0/24"), netip.MustParseAddr("10.9.0.2")))
	assert.NoError(t, second.Route(w.V4.UplinkNet, netip.MustParseAddr("10.9.0.1")))
	assert.NoError(t, f.server.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1")))
	assert.NoError(t, second.Forward())
	assert.NoError(t, w.Router.DropPMTU())
	assert.NoError(t, second.DropPMTU())
	return f
}

// TestDoctorNarrowBeyondNode is the founding story with a narrow link two routers away, of
// which the node's routes know nothing.
func TestDoctorNarrowBeyondNode(t *testing.T) {
	for _, mtu := range []int{212, 1500} {
		f := newFarPath(t, mtu)
		p := f.attach("c0", f.conflist("1.1.0", f.masq()))
		srv := assert.Must(f.server.ServeTLS(at(f.addr, 443)))(t).Addr()
		r := f.diagnose(p, srv)
		if mtu == 212 {
			wantNarrow(t, r, f.addr, "172", "an MSS of 1460 is offered, 172 is possible", "between 192.0.2.1 and 10.9.0.2")
			f.fixNarrow(p, f.server, srv)
			continue
		}
		if find(r, "path-mtu-in") != nil || find(r, "path-mtu-out") != nil {
			t.Errorf("control: %+v", r.Findings)
		}
	}
}

// prefixNet returns a prefix as package netlink has it.
func prefixNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
