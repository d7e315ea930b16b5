package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
)

// stateFixtures make the faults of doctor's state checks.
var stateFixtures = []doctorFixture{
	{check: string(report.KindRecordUnread), fault: func(l *doctorLab) { l.spoilRecord() }},
	{check: string(report.KindStateMissing), fault: func(l *doctorLab) {
		l.args = append(l.args, "--state-dir", filepath.Join(l.dir, "elsewhere"))
	}},
	{check: string(report.KindConfiguration), fault: func(l *doctorLab) {
		l.masqd.end()
		l.masqd = l.daemon("--config", l.writeConfig("toPorts: 20000-29999\n"))
		l.writeConfig("toPorts: 5-4\n")
		until(l.t, "masqd reports the fault", func() bool { n, _ := l.glance(); return n.Daemon.ConfigurationFault != "" })
	}},
	{check: string(report.KindAnnotation), fault: func(l *doctorLab) { l.refuseAnnotation() }},
	{check: string(report.KindTableOwned), also: []report.Kind{report.KindDaemonNotReady}, fault: func(l *doctorLab) {
		l.suspendDaemon() // otherwise masqd would be faster than the other program
		l.nft("delete table inet masq")
		l.owner()
		assert.NoError(l.t, l.masqd.Resume())
		until(l.t, "masqd is not ready", func() bool { code, _ := l.masqd.get("/readyz"); return code == http.StatusServiceUnavailable })
	}},
	{check: string(report.KindTableMissing), also: []report.Kind{report.KindDaemonStopped}, fault: func(l *doctorLab) {
		l.suspendDaemon()
		l.nft("delete table inet masq")
	}},
	{check: string(report.KindDrift), also: []report.Kind{report.KindDaemonStopped}, fault: func(l *doctorLab) {
		l.suspendDaemon()
		l.takeRule("postrouting", "postrouting/policy4")
	}},
	{check: string(report.KindLinkDrift), fault: func(l *doctorLab) {
		p := l.pods[0]
		out := string(assert.Must(p.Command(soon(l.t), "ip", "-4", "neighbor", "show", "nud", "permanent").Output())(l.t))
		gateway, _, _ := strings.Cut(out, " ")
		assert.NoError(l.t, p.Command(soon(l.t), "ip", "neighbor", "replace", gateway, "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent").Run())
	}},
	{check: string(report.KindEgressMissing), fault: func(l *doctorLab) {
		l.attach("gone", l.namedConflist("egress", "1.1.0", l.masqOn("10.91.0.0/24").With(keys{"snatAddresses": []netip.Addr{l.V4.Node, netip.MustParseAddr("192.0.2.99")}})))
	}},
	{check: string(report.KindUplinkAddress), fault: func(l *doctorLab) {
		out := string(assert.Must(l.Router.Command(soon(l.t), "ip", "-o", "address", "show", "dev", "tonode", "scope", "link").Output())(l.t))
		_, router, _ := strings.Cut(out, " inet6 ")
		router, _, _ = strings.Cut(router, "/")
		l.nodeRun("ip", "-6", "address", "flush", "dev", "uplink", "scope", "global")
		l.nodeRun("ip", "-6", "route", "replace", "default", "via", router, "dev", "uplink")
	}},
	{check: string(report.KindFirewall), fault: func(l *doctorLab) {
		l.nft("add table inet guard { chain forward { type filter hook forward priority 0; policy drop; ct state established accept; }; }")
	}},
	{check: string(report.KindConntrackFull), fault: func(l *doctorLab) { l.fill(l.conntrackLimit() * 95 / 100) }},
	{
		check: string(report.KindPortsScarce), keys: keys{"toPorts": "20000-20019"},
		fault: func(l *doctorLab) { l.openFlows(17) },
	},
	{
		check: string(report.KindPacketsDropped), keys: keys{"toPorts": "20000-20003"},
		fault: func(l *doctorLab) {
			l.masqd.get("/readyz") // the first reading of the statistics
			server := l.openFlows(4)
			if l.gauge(l.t).opens(l.t, l.pods[0], "udp", server) {
				l.t.Error("a fifth flow had a port")
			}
			l.lost(func(x report.Losses) uint64 { return x.NoPort.Count })
		},
	},
	{check: string(report.KindFlowsEvicted), perhaps: []report.Kind{report.KindPacketsDropped}, fault: func(l *doctorLab) {
		l.masqd.get("/readyz")
		const room = 1000 // for the flows of masqd
		unassured := func(i int) conntrack.Flow {
			f := l.filler(i)
			f.Status &^= conntrack.Assured // the kernel ends only such flows early
			return f
		}
		limit := l.conntrackLimit()
		l.fillWith(0, limit-room, unassured)
		have := int(assert.Must(l.table())(l.t).Entries)
		l.fillWith(limit-room, limit-room+limit-have, unassured)
		server := assert.Must(l.Server.ServeUDP(at(l.V4.Server, 7)))(l.t)
		g := l.gauge(l.t)
		until(l.t, "a flow is ended early", func() bool {
			// Each datagram begins a flow. The first may find room that a flow of masqd has left.
			c := assert.Must(l.pods[0].DialUDP(netip.AddrPort{}, server.Addr()))(l.t)
			_, err := c.Write([]byte("x"))
			assert.NoError(l.t, errors.Join(err, c.Close()))
			return conntrack.Sum(assert.Must(g.conn.Statistics(l.t.Context()))(l.t)).EarlyDrop > 0
		})
		l.lost(func(x report.Losses) uint64 { return x.Evicted.Count })
	}},
	{check: string(report.KindSpoofed), fault: func(l *doctorLab) { l.spoof() }},
	{check: string(report.KindClaimedTwice), fault: func(l *doctorLab) { l.claimTwice() }},
	{check: string(report.KindNotReady), fault: func(l *doctorLab) {
		path := l.pods[0].recordPath()
		var record map[string]any
		assert.NoError(l.t, json.Unmarshal(assert.Must(os.ReadFile(path))(l.t), &record))
		record["ready"], record["created"] = false, time.Now().Add(-time.Hour)
		l.replaceFile(path, assert.Must(json.Marshal(record))(l.t))
	}},
	{check: string(report.KindDaemonStopped), fault: func(l *doctorLab) { l.masqd.end() }},
	{check: string(report.KindDaemonElsewhere), noDaemon: true, fault: func(l *doctorLab) {
		c := l.Router.Command(context.WithoutCancel(l.t.Context()), built("masqd"), l.served()...)
		assert.NoError(l.t, c.Start())
		l.t.Cleanup(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		})
		until(l.t, "masqd works elsewhere", func() bool { n, _ := l.glance(); return n.Daemon.Elsewhere })
	}},
	{check: string(report.KindDaemonNotReady), fault: func(l *doctorLab) {
		_, port, _ := strings.Cut(daemonAt, ":")
		l.nft("add table inet guard { chain input { type filter hook input priority 0; tcp dport %s reject with tcp reset; }; }", port)
	}},
}

// suspendDaemon stops masqd until the end of the test.
func (l *doctorLab) suspendDaemon() {
	l.t.Helper()
	assert.NoError(l.t, l.masqd.Suspend())
	l.t.Cleanup(func() { _ = l.masqd.Resume() })
}

// replaceFile replaces a file at once, so that masqd does not read a part of it.
func (w *world) replaceFile(path string, b []byte) {
	w.t.Helper()
	assert.NoError(w.t, errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path)))
}

// spoilRecord makes the record of a container one of a newer version, which no version can
// rebuild.
func (l *doctorLab) spoilRecord() {
	l.t.Helper()
	path := l.pods[0].recordPath()
	b := assert.Must(os.ReadFile(path))(l.t)
	spoiled := strings.Replace(string(b), `"version":1`, `"version":99`, 1)
	l.replaceFile(path, []byte(spoiled))
	l.t.Cleanup(func() { l.replaceFile(path, b) }) // for DEL
}

// refuseAnnotation has ADD refuse a pod because of its annotation.
func (l *doctorLab) refuseAnnotation() {
	l.t.Helper()
	list := l.namedConflist("strict", "1.1.0", able(l.masqOn("10.91.0.0/24").With(keys{"allowAnnotations": []string{}})))
	p := l.tenant("refused")
	if p.tryAdd(list) == nil {
		l.t.Fatal("ADD accepts the annotation")
	}
	assert.NoError(l.t, p.tryDel(list))
}

// spoof has a container send packets with a source that is not its own.
func (l *doctorLab) spoof() {
	l.t.Helper()
	for range 20 {
		l.pods[0].spoofs(l.V4)
	}
	until(l.t, "the packets are dropped", func() bool { n, _ := l.glance(); return n.Dropped != nil && n.Dropped.Spoofed == 20 })
}

// claimTwice attaches two containers with one address, whose links another plugin makes.
func (l *doctorLab) claimTwice() {
	l.t.Helper()
	list := l.namedConflist("claims", "1.1.0", l.claimed("replace"), l.behind())
	l.claimant("first").attach(list)
	l.claimant("second").attach(list)
}

func (l *doctorLab) conntrackLimit() int {
	l.t.Helper()
	return int(assert.Must(l.table())(l.t).Limit)
}

// keepUDP keeps UDP flows in the conntrack table until the test ends: by default the kernel
// deletes them after 30 s.
func (l *doctorLab) keepUDP() {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Sysctl("net.netfilter.nf_conntrack_udp_timeout", "600"))
}

// openFlows opens n flows of a container to one server, which it returns.
func (l *doctorLab) openFlows(n int) netip.AddrPort {
	l.t.Helper()
	l.keepUDP()
	server := assert.Must(l.Server.ServeUDP(at(l.V4.Server, 7)))(l.t)
	g := l.gauge(l.t)
	for i := range n {
		if !g.opens(l.t, l.pods[0], "udp", server.Addr()) {
			l.t.Fatalf("only %d of %d ports", i, n)
		}
	}
	return server.Addr()
}

// lost ends all flows and waits until masqd has noticed a loss.
func (l *doctorLab) lost(count func(report.Losses) uint64) {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Command(soon(l.t), "conntrack", "-F").Run())
	until(l.t, "masqd notices the loss", func() bool {
		_, body := l.masqd.get("/readyz")
		var r struct{ Losses report.Losses }
		return json.Unmarshal([]byte(body), &r) == nil && count(r.Losses) > 0
	})
}
