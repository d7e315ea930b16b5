package e2e

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// socketFixtures make the faults of doctor's socket checks.
var socketFixtures = []doctorFixture{
	{check: "container-default-route", fault: (*doctorLab).deleteContainerRoute},
	{check: "container-default-route", fault: (*doctorLab).moveContainerGateway},
	{check: "container-mtu", fault: (*doctorLab).lowerHostMTU},
	{check: "path-mtu-black-hole", fault: (*doctorLab).uploadOverNarrowLink},
	{check: "syn-unanswered", fault: (*doctorLab).silenceServer},
	{check: "connections-stuck", fault: (*doctorLab).silenceConnections},
	{check: "dns-unanswered", fault: (*doctorLab).silenceDNS},
	{check: "fragments", fault: (*doctorLab).loseFragments},
	{check: "offload-fault", fault: (*doctorLab).corruptChecksums},
}

// found waits until doctor has a finding, and returns the findings.
func (l *doctorLab) found(args ...string) []doctor.Finding {
	l.t.Helper()
	var r doctor.Report
	until(l.t, "doctor has a finding", func() bool {
		r, _ = l.doctor(args...)
		return len(r.Findings) > 0
	})
	return r.Findings
}

// healthy checks that doctor has no finding.
func (l *doctorLab) healthy(what string) {
	l.t.Helper()
	if r, exit := l.doctor(); exit != 0 || len(r.Findings) > 0 || len(r.NotChecked) > 0 {
		l.t.Errorf("%s: exit code %d, findings %+v, not checked %+v", what, exit, r.Findings, r.NotChecked)
	}
}

// background runs f until the test ends.
func (l *doctorLab) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	l.t.Cleanup(func() { cancel(); <-done })
}

// narrow makes the router lose packets of more than 1280 bytes silently, like a link with that MTU
// whose ICMP errors are filtered.
func (l *doctorLab) narrow() {
	l.t.Helper()
	l.filter(l.Router, "add table inet narrow; add chain inet narrow forward { type filter hook forward priority 0; }; add rule inet narrow forward meta length > 1280 drop")
}

// drop makes the server drop what it receives.
func (l *doctorLab) drop() {
	l.t.Helper()
	l.filter(l.Server, "add table inet silent; add chain inet silent input { type filter hook input priority 0; policy drop; }")
}

func (l *doctorLab) filter(n *nstest.NS, rules string) {
	l.t.Helper()
	if out, err := n.Command(l.t.Context(), "nft", rules).CombinedOutput(); err != nil {
		l.t.Fatalf("%v\n%s", err, out)
	}
}

// echo opens a connection to the server, and has it echo some bytes.
func (l *doctorLab) echo(p *pod, server netip.AddrPort) net.Conn {
	l.t.Helper()
	c := assert.Must(p.Dial(soon(l.t), "tcp", netip.AddrPort{}, server))(l.t)
	l.t.Cleanup(func() { _ = c.Close() })
	assert.Must(io.WriteString(c, "ECHO\nhello"))(l.t)
	assert.Must(io.ReadFull(c, make([]byte, 5)))(l.t)
	return c
}

// uploadOverNarrowLink uploads before the link is narrow, which is the control, and after it.
func (l *doctorLab) uploadOverNarrowLink() {
	l.t.Helper()
	srv, _ := l.servers(l.V4.Server)
	l.echo(l.pods[1], srv)
	assert.Must(l.pods[0].Upload(soon(l.t), srv, narrowSize))(l.t)
	l.healthy("after an upload")
	l.narrow()
	l.background(func(ctx context.Context) { _, _ = l.pods[0].Upload(ctx, srv, narrowSize) })
	l.found()
}

// silenceServer connects to a server, and again after the server drops all packets.
func (l *doctorLab) silenceServer() {
	l.t.Helper()
	srv, _ := l.servers(l.V4.Server)
	l.echo(l.pods[0], srv)
	l.drop()
	for range 2 {
		l.background(func(ctx context.Context) {
			if c, err := l.pods[0].Dial(ctx, "tcp", netip.AddrPort{}, srv); err == nil {
				_ = c.Close()
			}
		})
	}
	l.found()
}

// silenceConnections sends by connections whose server no longer answers.
func (l *doctorLab) silenceConnections() {
	l.t.Helper()
	srv, _ := l.servers(l.V4.Server)
	open := []net.Conn{l.echo(l.pods[0], srv), l.echo(l.pods[1], srv)}
	l.healthy("with idle connections")
	l.drop()
	for _, c := range open {
		assert.Must(io.WriteString(c, "are you there?"))(l.t)
	}
	l.found()
}

// silenceDNS sends queries of one container to a DNS server that answers, which is the control, and
// queries of another container to a silent one.
func (l *doctorLab) silenceDNS() {
	l.t.Helper()
	l.keepUDP()
	server := at(l.V4.Server, 53)
	answers := assert.Must(l.Server.ServeUDP(server))(l.t)
	assert.NoError(l.t, l.pods[1].EchoUDP(soon(l.t), netip.AddrPort{}, server, 30))
	assert.NoError(l.t, answers.Close())
	silent := assert.Must(l.Server.ListenUDP(server))(l.t)
	l.t.Cleanup(func() { _ = silent.Close() })
	for range 2 {
		c := assert.Must(l.pods[0].DialUDP(netip.AddrPort{}, server))(l.t)
		assert.Must(c.Write(make([]byte, 30)))(l.t)
		assert.NoError(l.t, c.Close())
	}
	l.found()
}

// chained attaches a container in chained mode.
func (l *doctorLab) chained() *pod {
	l.t.Helper()
	ipam := l.masqOn("10.92.0.0/24")["ipam"].(keys).With(keys{"routes": []any{keys{"dst": "0.0.0.0/0"}}})
	p := l.attach("chained", l.namedConflist("chained", "1.0.0", keys{"type": "ptp", "ipMasq": false, "ipam": ipam}, l.behind()))
	srv, _ := l.servers(l.V4.Server)
	l.echo(p, srv)
	l.healthy("with a container in chained mode")
	return p
}

// ip runs ip(8) in a container.
func (l *doctorLab) ip(p *pod, args ...string) {
	l.t.Helper()
	if out, err := p.Command(l.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// deleteContainerRoute deletes the default route of a container in chained mode.
func (l *doctorLab) deleteContainerRoute() {
	l.t.Helper()
	l.ip(l.chained(), "route", "del", "default")
}

// moveContainerGateway changes the gateway of a container to an address that no host has.
func (l *doctorLab) moveContainerGateway() {
	l.t.Helper()
	p := l.chained()
	l.ip(p, "route", "replace", "default", "via", "10.92.0.99", "dev", "eth0", "onlink")
	c := assert.Must(p.DialUDP(netip.AddrPort{}, at(l.V4.Server, 9)))(l.t)
	assert.Must(c.Write([]byte("hello")))(l.t)
	assert.NoError(l.t, c.Close())
	l.found()
}

// lowerHostMTU lowers the MTU of the node's end of a link.
func (l *doctorLab) lowerHostMTU() {
	l.t.Helper()
	assert.NoError(l.t, l.Node.SetMTU(l.chained().result.Interfaces[0].Name, 1400))
}

// loseFragments sends first fragments to the node, whose other fragments are lost.
func (l *doctorLab) loseFragments() {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Sysctl("net.ipv4.ipfrag_time", "1"))
	packet := nstest.UDPPacket(at(l.V4.Server, 1), at(l.V4.Node, 2), make([]byte, 1000))
	for id := range 60 {
		first, second := fragments(packet, uint32(id+1), 504)
		assert.NoError(l.t, l.Server.SendRaw(first))
		if id%6 == 0 { // a healthy datagram
			assert.NoError(l.t, l.Server.SendRaw(second))
		}
	}
	l.found()
}

// corruptChecksums sends datagrams with wrong checksums to the node.
func (l *doctorLab) corruptChecksums() {
	l.t.Helper()
	packet := nstest.UDPPacket(at(l.V4.Server, 1), at(l.V4.Node, 4789), make([]byte, 100))
	for i := range 200 {
		if i == 100 {
			l.healthy("with datagrams to a closed port")
			packet[len(packet)-1]++
		}
		assert.NoError(l.t, l.Server.SendRaw(packet))
	}
}

// TestDoctorNarrowLink: doctor finds connections that are stuck because of a narrow link beyond
// the node, without a probe, in both directions and both families: an upload, a download whose last
// segment is small, and a TLS connection. A download without a small segment looks like a slow
// server: only doctor pod reports it.
func TestDoctorNarrowLink(t *testing.T) {
	for _, c := range []struct {
		name    string
		port    uint16
		args    []string
		request string
		upload  bool
		message string
	}{
		{name: "upload", upload: true, message: "no segment of"},
		{name: "download with a small segment", request: "GET 4000\n", message: "gap"},
		{name: "TLS", port: 443, request: "GET" + strings.Repeat(" ", 200) + "300000\n", message: "no answer"},
		{name: "download", request: "GET 300000\n", args: []string{"pod", "c0"}, message: "no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newDoctorLab(t, doctorFixture{})
			send := func(ctx context.Context, srv netip.AddrPort) (int64, error) {
				if c.upload {
					got, err := l.pods[0].Upload(ctx, srv, narrowSize)
					return got.Bytes, err
				}
				conn, err := l.pods[0].Dial(ctx, "tcp", netip.AddrPort{}, srv)
				if err != nil {
					return 0, err
				}
				defer func() { _ = conn.Close() }()
				defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
				if _, err := io.WriteString(conn, c.request); err != nil {
					return 0, err
				}
				return io.Copy(io.Discard, conn)
			}
			var servers []netip.AddrPort
			for _, plan := range l.Plans() {
				srv := assert.Must(l.Server.ServeTCP(at(plan.Server, c.port)))(t).Addr()
				servers = append(servers, srv)
				if n, err := send(soon(t), srv); err != nil || n == 0 {
					t.Fatalf("wide link: %d bytes, %v", n, err)
				}
			}
			l.healthy("wide link")
			l.narrow()
			for _, srv := range servers {
				l.background(func(ctx context.Context) { _, _ = send(ctx, srv) })
			}
			var found []doctor.Finding
			until(t, "both families are found", func() bool {
				found = l.found(c.args...)
				return len(found) == len(servers)
			})
			for _, f := range found {
				if f.Check != "path-mtu-black-hole" || !strings.Contains(f.Message, c.message) ||
					!slices.ContainsFunc(servers, func(a netip.AddrPort) bool { return strings.Contains(f.Object, a.String()) }) {
					t.Errorf("%s: %s, %+v", f.Check, f, f.Evidence)
				}
				t.Log(f, f.Evidence)
			}
			if c.args != nil {
				l.healthy("all containers")
			}
		})
	}
}
