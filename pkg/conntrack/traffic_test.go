package conntrack

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// lab is a node that masquerades one container, without a program of this project.
type lab struct {
	*table
	*nstest.Topology
	pod *nstest.NS
	tcp map[netip.Addr]*nstest.TCPServer // by their addresses
	udp map[netip.Addr]*nstest.UDPServer
	ftp map[netip.Addr]*nstest.FTPServer
}

// others are rules of another program. Without a rule with ct, the namespace would not track
// connections while table lab is missing.
const others = `
table inet others {
	chain forward { type filter hook forward priority filter; ct state invalid drop; }
}`

const rules = `
table inet lab {
	ct helper ftp { type "ftp" protocol tcp; }
	chain before {
		type filter hook prerouting priority mangle;
		iifname "pod" tcp dport 21 ct helper set "ftp"
		iifname "pod" udp dport 53 ct mark set 0x1d ct label set 9
	}
	chain after {
		type nat hook postrouting priority srcnat;
		iifname "pod" masquerade
	}
}`

var (
	podAddresses  = []netip.Prefix{netip.MustParsePrefix("10.88.0.2/24"), netip.MustParsePrefix("fd00:88::2/64")}
	nodeAddresses = []netip.Prefix{netip.MustParsePrefix("10.88.0.1/24"), netip.MustParsePrefix("fd00:88::1/64")}
)

func newLab(t *testing.T) *lab {
	t.Helper()
	all := nstest.New(t)
	l := &lab{tcp: map[netip.Addr]*nstest.TCPServer{}, udp: map[netip.Addr]*nstest.UDPServer{}, ftp: map[netip.Addr]*nstest.FTPServer{}}
	l.Topology = assert.Must(all.Topology(nstest.Uplink{}))(t)
	l.pod = assert.Must(all.Namespace("pod"))(t)
	assert.NoError(t, l.Node.Forward())
	assert.NoError(t, l.Node.Sysctl("net.netfilter.nf_conntrack_acct", "1"))
	assert.NoError(t, l.Node.Sysctl("net.netfilter.nf_conntrack_timestamp", "1"))
	l.install(t, others+rules)
	assert.NoError(t, nstest.Connect(
		nstest.End{NS: l.pod, Name: "eth0", Addresses: podAddresses},
		nstest.End{NS: l.Node, Name: "pod", Addresses: nodeAddresses}, 1500))
	assert.NoError(t, l.pod.Route(netip.MustParsePrefix("0.0.0.0/0"), nodeAddresses[0].Addr()))
	assert.NoError(t, l.pod.Route(netip.MustParsePrefix("::/0"), nodeAddresses[1].Addr()))
	for _, p := range l.Plans() {
		l.tcp[p.Server] = assert.Must(l.Server.ServeTCP(netip.AddrPortFrom(p.Server, 80)))(t)
		l.udp[p.Server] = assert.Must(l.Server.ServeUDP(netip.AddrPortFrom(p.Server, 53)))(t)
		l.ftp[p.Server] = assert.Must(l.Server.ServeFTP(netip.AddrPortFrom(p.Server, 21)))(t)
	}
	l.table = &table{openIn(t, l.Node), t, l.Node}
	return l
}

func (l *lab) install(t *testing.T, text string) {
	t.Helper()
	nft := l.Node.Command(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(text)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// traffic is some of everything; it returns connections that stay open.
func (l *lab) traffic(t *testing.T) []net.Conn {
	t.Helper()
	var open []net.Conn
	for _, p := range l.Plans() {
		assert.Must(l.pod.Download(within(t), l.tcp[p.Server].Addr(), 10_000))(t)
		assert.NoError(t, l.pod.EchoUDP(within(t), netip.AddrPort{}, l.udp[p.Server].Addr(), 100))
		assert.Must(l.pod.Ping(within(t), p.Server, nstest.PingOptions{}))(t)
		assert.Must(l.pod.FTPFetch(within(t), l.ftp[p.Server].Addr(), nstest.EPRT, 5_000))(t)
		assert.Must(l.Node.Download(within(t), l.tcp[p.Server].Addr(), 100))(t)
		c := assert.Must(l.pod.Dial(within(t), "tcp", netip.AddrPort{}, l.tcp[p.Server].Addr()))(t)
		t.Cleanup(func() { _ = c.Close() })
		open = append(open, c)
	}
	return open
}

// What the table says of real traffic is what the far end saw.
func TestRealTraffic(t *testing.T) {
	l := newLab(t)
	l.traffic(t)
	all := l.collect(Filter{})
	for _, p := range l.Plans() {
		seen := map[netip.AddrPort]bool{}
		for _, a := range l.tcp[p.Server].Sources() {
			seen[a] = true
		}
		var tcp, expected, controls, udp, echoes int
		for _, f := range all {
			if f.Original.Dst != p.Server && f.Master.Dst != p.Server {
				continue
			}
			if f.Original.Src != p.Node && !f.Translated() && f.Status&Expected == 0 {
				t.Errorf("%s: not translated: %s", f.Original, f.Status)
			}
			if !f.Has(HasCounters|HasTimestamps) || f.OriginalCounters.Packets == 0 || time.Since(time.Unix(0, f.Start)) > time.Minute {
				t.Errorf("%+v", f)
			}
			switch {
			case f.Status&Expected != 0:
				expected++
				if c, ok := all[f.Master]; !ok || c.Helper.String() != "ftp" || f.Reply.Src != podAddresses[0].Addr() && f.Reply.Src != podAddresses[1].Addr() {
					t.Errorf("expected by %s: %+v", f.Master, f)
				}
			case f.Original.DstPort == 80:
				tcp++
				if !seen[f.Egress()] {
					t.Errorf("%s left as %s; the server saw %v", f.Original, f.Egress(), seen)
				}
				if s := f.StateName(); s != "established" && s != "time_wait" && s != "last_ack" {
					t.Errorf("%s is %s", f.Original, s)
				}
			case f.Original.DstPort == 21:
				controls++
			case f.Original.DstPort == 53:
				udp++
				// A label is a bit in an array of longs of the machine.
				if f.Mark != 0x1d || f.Labels == [16]byte{} || f.Egress() != l.udp[p.Server].Seen()[0].Source {
					t.Errorf("%+v", f)
				}
			case f.Original.Type != 0:
				echoes++
				if f.Egress().Addr() != p.Node || f.OriginalCounters.Packets != 1 || f.ReplyCounters.Packets != 1 {
					t.Errorf("%+v", f)
				}
			}
		}
		if tcp != 3 || expected != 1 || controls != 1 || udp != 1 || echoes != 1 {
			t.Errorf("%d TCP, %d expected, %d controls, %d UDP, %d echoes of %v", tcp, expected, controls, udp, echoes, keys(all))
		}
	}
}

// Flows that began while rules were missing are found and deleted, and no others. Their next
// packets are translated.
func TestUntranslatedFlows(t *testing.T) {
	l := newLab(t)
	open := l.traffic(t)
	l.install(t, "delete table inet lab")
	type flow struct {
		conn   *net.UDPConn
		server *nstest.UDPServer
	}
	var untranslated []flow
	for _, p := range l.Plans() {
		udp := l.udp[p.Server]
		c := assert.Must(l.pod.DialUDP(netip.AddrPort{}, udp.Addr()))(t)
		t.Cleanup(func() { _ = c.Close() })
		assert.Must(c.Write([]byte("without rules")))(t)
		seen := assert.Must(udp.WaitSeen(within(t), 2))(t)
		if seen[1].Source != c.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Errorf("translated without rules: %v", seen)
		}
		untranslated = append(untranslated, flow{c, udp})
	}
	before := l.collect(Filter{})
	l.install(t, rules)
	for _, g := range untranslated {
		assert.Must(g.conn.Write([]byte("still")))(t)
		seen := assert.Must(g.server.WaitSeen(within(t), 3))(t)
		if seen[2].Source != seen[1].Source {
			t.Errorf("an old flow was translated: %v", seen)
		}
	}

	n := assert.Must(l.DeleteMatching(t.Context(), Filter{StatusMask: SrcNAT}, func(f *Flow) bool {
		return podAddresses[0].Contains(f.Original.Src) || podAddresses[1].Contains(f.Original.Src)
	}))(t)
	after := l.collect(Filter{})
	if n != len(untranslated) || len(after) != len(before)-n {
		t.Errorf("deleted %d of %d flows, %d are left", n, len(before), len(after))
	}
	for i, g := range untranslated {
		assert.Must(g.conn.Write([]byte("after deletion")))(t)
		seen := assert.Must(g.server.WaitSeen(within(t), 4))(t)
		if seen[3].Source.Addr() != l.Plans()[i].Node {
			t.Errorf("leaves as %s", seen[3].Source)
		}
	}
	for _, c := range open {
		assert.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		assert.Must(c.Write([]byte("WHO\n")))(t)
		if n := assert.Must(c.Read(make([]byte, 100)))(t); n == 0 {
			t.Error("a connection from before the deletion of the rules broke")
		}
	}
}
