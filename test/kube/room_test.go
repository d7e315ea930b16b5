package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// Addresses in the room, each in both families.
var (
	controlAddrs = addrs("192.0.2.10", "2001:db8:2::10")
	nodeAddrs    = [][]netip.Addr{addrs("192.0.2.11", "2001:db8:2::11"), addrs("192.0.2.12", "2001:db8:2::12")}
	outsideAddrs = addrs("192.0.2.20", "2001:db8:2::20")
	// insideAddrs are outside's too, reached directly.
	insideAddrs = addrs("10.99.0.20", "fd00:99::20")
	routerAddrs = addrs("192.0.2.1", "2001:db8:2::1")
	// wanAddrs are the nodes' addresses on the narrow links; the router has the preceding one.
	wanAddrs = addrs("203.0.113.1", "203.0.113.3")
	farAddr  = netip.MustParseAddr("198.51.100.2")
)

// room contains the machines of a test, connected by a bridge.
type room struct {
	t     testing.TB
	lab   *nstest.Lab
	dir   string // files that all machines share
	logs  string
	disks string // a tmpfs that only the keeper's mount namespace contains
	keep  int    // the process that holds that namespace

	lan, outside, router, far *nstest.NS
}

// newRoom builds a room that ends with the test.
func newRoom(t testing.TB) *room {
	t.Helper()
	assert.NoError(t, sweep())
	r := &room{t: t, dir: filepath.Join(os.TempDir(), own()), logs: t.ArtifactDir()}
	assert.NoError(t, os.Mkdir(r.dir, 0o755))
	// Cgroups are removed after the lab is closed, which ends the processes in them.
	t.Cleanup(func() { assert.NoError(t, errors.Join(removeGroups(own()+"-*"), os.RemoveAll(r.dir))) })
	r.lab = nstest.New(t)
	r.lan = assert.Must(r.lab.Namespace("lan"))(t)
	r.run(t, r.lan, "ip", "link", "add", "br0", "type", "bridge")
	r.run(t, r.lan, "ip", "link", "set", "br0", "up")
	r.disks = filepath.Join(r.dir, "disks")
	assert.NoError(t, os.Mkdir(r.disks, 0o755))
	_, r.keep = r.hold(t, r.lan, "keeper", "unshare", "--mount", "--propagation", "slave", "bash", "-c", `set -e
read -r pid _ </proc/self/stat
mount -t tmpfs tmpfs "$0"
echo "$pid"
while read -r _; do :; done`, r.disks)

	r.outside = r.machine(t, "outside", outsideAddrs)
	for _, a := range slices.Concat(insideAddrs, newsAddrs) {
		assert.NoError(t, r.outside.AddAddress("eth0", onLAN(a)))
	}
	r.router = r.machine(t, "router", routerAddrs)
	assert.NoError(t, r.router.Forward())
	assert.NoError(t, r.router.DropPMTU())
	r.far = assert.Must(r.lab.Namespace("far"))(t)
	assert.NoError(t, nstest.Connect(
		nstest.End{NS: r.router, Name: "far", Addresses: []netip.Prefix{onLAN(farAddr.Prev())}},
		nstest.End{NS: r.far, Name: "eth0", Addresses: []netip.Prefix{onLAN(farAddr)}}, 1500))
	assert.NoError(t, r.far.Route(netip.MustParsePrefix("0.0.0.0/0"), farAddr.Prev()))
	return r
}

// machine makes a namespace with eth0 on the bridge.
func (r *room) machine(t testing.TB, name string, own []netip.Addr) *nstest.NS {
	t.Helper()
	n := assert.Must(r.lab.Namespace(name))(t)
	eth0 := nstest.End{NS: n, Name: "eth0"}
	for _, a := range own {
		eth0.Addresses = append(eth0.Addresses, onLAN(a))
	}
	assert.NoError(t, nstest.Connect(eth0, nstest.End{NS: r.lan, Name: name}, 1500))
	r.run(t, r.lan, "ip", "link", "set", name, "master", "br0")
	return n
}

// narrowLink gives a machine a second uplink, the only path to far.
func (r *room) narrowLink(t testing.TB, name string, n *nstest.NS, own netip.Addr) {
	t.Helper()
	router := own.Prev()
	assert.NoError(t, nstest.Connect(
		nstest.End{NS: n, Name: "narrow", Addresses: []netip.Prefix{netip.PrefixFrom(own, 31)}},
		nstest.End{NS: r.router, Name: name, Addresses: []netip.Prefix{netip.PrefixFrom(router, 31)}}, 212))
	assert.NoError(t, n.Route(onLAN(farAddr).Masked(), router))
}

// run runs a program that must succeed.
func (r *room) run(t testing.TB, n *nstest.NS, name string, args ...string) {
	t.Helper()
	if out, err := n.Command(soon(t), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s %s: %v\n%s", n.Name(), name, strings.Join(args, " "), err, out)
	}
}

// hold starts a program that prints the ID of the process that holds its namespaces, and that
// ends with its standard input, so it ends with the test in every case.
func (r *room) hold(t testing.TB, n *nstest.NS, name, program string, args ...string) (*nstest.Command, int) {
	t.Helper()
	c := n.Command(context.WithoutCancel(r.t.Context()), program, args...)
	_ = assert.Must(c.StdinPipe())(t)
	out := assert.Must(c.StdoutPipe())(t)
	c.Stderr = r.log(name)
	assert.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = c.Cancel()
		t.Fatalf("%s: %v %v", name, err, c.Wait())
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("%s printed %q: %v", name, line, err)
	}
	return c, pid
}

// log returns a file for a program's output. Its end is logged if the test fails.
func (r *room) log(name string) *os.File {
	r.t.Helper()
	path := filepath.Join(r.logs, name+".log")
	f := assert.Must(os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644))(r.t)
	r.t.Cleanup(func() {
		assert.NoError(r.t, f.Close())
		if text, err := os.ReadFile(path); r.t.Failed() && err == nil && len(text) > 0 {
			r.t.Logf("%s said at last:\n%s", name, text[max(0, len(text)-1500):])
		}
	})
	return f
}

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// onLAN returns an address with the prefix length of the room's networks.
func onLAN(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 24)
	}
	return netip.PrefixFrom(a, 64)
}
