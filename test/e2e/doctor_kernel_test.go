package e2e

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// kernelFixtures make the faults of doctor's kernel checks.
var kernelFixtures = []doctorFixture{
	{check: "ports-overlap", keys: keys{"toPorts": "20000-20009"}, fault: (*doctorLab).reservePorts},
	{check: "ports-overlap", keys: keys{"toPorts": "20000-20003"}, fault: (*doctorLab).listenOnPorts},
	{check: "conntrack-hash", fault: (*doctorLab).fillBuckets},
	{check: "conntrack-timeouts", fault: (*doctorLab).shortenTimeouts},
	{check: "conntrack-liberal", fault: (*doctorLab).leaveWindow},
	{check: "conntrack-accounting", fault: (*doctorLab).logWithoutAccounting},
	{check: "helper-port", keys: keys{"helpers": keys{"ftp": []uint16{21}}}, fault: func(l *doctorLab) { l.control(2121) }},
	{check: "helper-port", fault: func(l *doctorLab) { l.control(21) }},
	{check: "helper-port", fault: func(l *doctorLab) { l.control(554) }},
	{check: "helper-daemon", keys: keys{"helpers": keys{"rtsp": []uint16{}}}, prepare: func(l *doctorLab) { l.redirects(l.pods[0], "tcp", 554) }, fault: (*doctorLab).lockWithoutHelpers},
	{check: "helper-input", keys: keys{"helpers": keys{"rtsp": []uint16{}}}, prepare: func(l *doctorLab) { l.redirects(l.pods[0], "tcp", 554) }, fault: func(l *doctorLab) {
		l.nodeRun("nft", `table inet guard { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iifname "lo" accept; tcp dport 22 accept; }; }`)
	}},
	{check: "helper-input", keys: keys{"helpers": keys{"talk": []uint16{}}}, prepare: func(l *doctorLab) { l.redirects(l.pods[0], "udp", talkPort) }, fault: func(l *doctorLab) {
		l.iptables("-A", "INPUT", "-s", "10.88.0.0/16", "-j", "DROP")
	}},
	{check: "helper-unassigned", keys: keys{"helpers": keys{"ftp": []uint16{21}}}, fault: (*doctorLab).connectWithoutRule},
	{check: "masqd-capability", fault: (*doctorLab).lockWithoutCapability},
	{check: "nft-version", fault: (*doctorLab).installOldNft},
}

// reservePorts reserves all source ports of the policy.
func (l *doctorLab) reservePorts() {
	l.t.Helper()
	assert.NoError(l.t, l.Node.Sysctl("net.ipv4.ip_local_reserved_ports", "20000-20009"))
	assert.NoError(l.t, l.masqd.Process.Signal(syscall.SIGHUP))
	l.found()
}

// listenOnPorts has services of the node listen on half of the source ports.
func (l *doctorLab) listenOnPorts() {
	l.t.Helper()
	for _, port := range []uint16{20000, 20001} {
		s := assert.Must(l.Node.Listen(at(netip.IPv4Unspecified(), port)))(l.t)
		l.t.Cleanup(func() { _ = s.Close() })
	}
	assert.NoError(l.t, l.masqd.Process.Signal(syscall.SIGHUP))
	l.found()
}

// fillBuckets makes more flows than the hash table has room for. All network namespaces of the
// machine share the hash table, so doctor reads another number of buckets from a file.
func (l *doctorLab) fillBuckets() {
	l.t.Helper()
	l.keepUDP()
	server := assert.Must(l.Server.ServeUDP(at(l.V4.Server, 9)))(l.t)
	for range 8 {
		assert.NoError(l.t, l.pods[0].EchoUDP(soon(l.t), netip.AddrPort{}, server.Addr(), 30))
	}
	l.show("/proc/sys/net/netfilter/nf_conntrack_buckets", "1")
}

// show has doctor read another content of a file.
func (l *doctorLab) show(path, content string) {
	l.t.Helper()
	other := filepath.Join(l.t.TempDir(), "file")
	assert.NoError(l.t, os.WriteFile(other, []byte(content+"\n"), 0o644))
	l.wrap = func(c *nstest.Command) *nstest.Command {
		args := append([]string{"--mount", "sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, other, path}, c.Args...)
		return l.Node.Command(soon(l.t), "unshare", args...)
	}
}

func (l *doctorLab) shortenTimeouts() {
	l.t.Helper()
	for key, value := range map[string]string{"tcp_timeout_established": "600", "udp_timeout": "5", "udp_timeout_stream": "20"} {
		assert.NoError(l.t, l.Node.Sysctl("net.netfilter.nf_conntrack_"+key, value))
	}
}

// leaveWindow sends segments of an open connection that are outside of its window.
func (l *doctorLab) leaveWindow() {
	l.t.Helper()
	c := l.connect(l.pods[0], 80)
	from, to := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	// Of four sequence numbers that divide the space, at least one is beyond the window.
	for i := range uint32(4 * 1000) {
		assert.NoError(l.t, l.pods[0].SendRaw(nstest.TCPPacket(nstest.Segment{Src: from, Dst: to, Flags: nstest.ACK, Seq: i << 30, Ack: 1})))
	}
	l.found()
}

// connect opens a connection of a pod to a server, which stays open.
func (l *doctorLab) connect(p *pod, port uint16) net.Conn {
	l.t.Helper()
	server := assert.Must(l.Server.ServeTCP(at(l.V4.Server, port)))(l.t)
	c := assert.Must(p.Dial(soon(l.t), "tcp", netip.AddrPort{}, server.Addr()))(l.t)
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// logWithoutAccounting has masqd keep a NAT log.
func (l *doctorLab) logWithoutAccounting() {
	l.t.Helper()
	l.masqd.end()
	l.masqd = l.daemon("--nat-log", filepath.Join(l.dir, "nat-log"))
}

// control opens a control connection to a port.
func (l *doctorLab) control(port uint16) {
	l.t.Helper()
	l.connect(l.pods[0], port)
	l.found()
}

// connectWithoutRule opens a control connection while the element that assigns the helper is
// missing, and masqd cannot restore it.
func (l *doctorLab) connectWithoutRule() {
	l.t.Helper()
	element := "inet masq helper4-ftp-tcp { " + l.pods[0].addr(l.V4.Server).String() + " . 21 }"
	assert.NoError(l.t, l.masqd.Suspend())
	l.nft("delete element %s", element)
	l.connect(l.pods[0], 21)
	l.nft("add element %s", element)
	assert.NoError(l.t, l.masqd.Resume())
	l.found()
}

// lockWithoutCapability replaces masqd by a program that has no capability. A masqd without
// CAP_NET_ADMIN ends at once.
func (l *doctorLab) lockWithoutCapability() {
	l.t.Helper()
	l.replaceDaemon("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
}

// lockWithoutHelpers replaces masqd by one that serves no helpers, as an earlier version.
func (l *doctorLab) lockWithoutHelpers() {
	l.t.Helper()
	l.replaceDaemon("env")
}

// replaceDaemon replaces masqd by a program that only holds its lock. A command starts it.
func (l *doctorLab) replaceDaemon(by ...string) {
	l.t.Helper()
	l.masqd.end()
	lock := filepath.Join(l.dir, "state", "attachments", "masqd.lock")
	assert.NoError(l.t, os.Truncate(lock, 0))
	c := l.Node.Command(context.WithoutCancel(l.t.Context()), by[0], append(by[1:], "flock", lock, "sleep", "infinity")...)
	assert.NoError(l.t, c.Start())
	until(l.t, "the program holds the lock", func() bool { n, _ := l.glance(); return n.Daemon.Running })
}

// installOldNft has doctor find a program that says that it is nft of Ubuntu 20.04.
func (l *doctorLab) installOldNft() {
	l.t.Helper()
	dir := l.t.TempDir()
	assert.NoError(l.t, os.WriteFile(filepath.Join(dir, "nft"), []byte("#!/bin/sh\necho 'nftables v0.9.3 (Topsy)'\n"), 0o755))
	l.wrap = func(c *nstest.Command) *nstest.Command {
		c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		return c
	}
}
