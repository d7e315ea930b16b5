package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestSeveralInterfacesOfOneContainer: another plugin gives a container two interfaces, as
// the AWS VPC CNI does with mNicIf1. Packets from the addresses of both are masqueraded.
// Addresses in the result that belong to another sandbox are not.
func TestSeveralInterfacesOfOneContainer(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	assert.NoError(t, w.Node.Sysctl("net/ipv4/ip_forward", "1"))
	assert.NoError(t, w.Node.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	p, other := w.pod("several"), w.pod("other")
	type face struct {
		ns   *pod
		name string
		n    int
	}
	faces := []face{{p, "eth0", 1}, {p, "mNicIf1", 2}, {other, "eth0", 3}}
	addr := func(f face, plan nstest.Plan) netip.Prefix {
		if plan.Server.Is4() {
			return netip.MustParsePrefix(fmt.Sprintf("10.77.%d.5/24", f.n))
		}
		return netip.MustParsePrefix(fmt.Sprintf("fd00:77:%d::5/64", f.n))
	}
	interfaces := []keys{}
	ips := []keys{}
	for _, f := range faces {
		near := nstest.End{NS: w.Node, Name: fmt.Sprintf("eni%d", f.n)}
		far := nstest.End{NS: f.ns.NS, Name: f.name}
		for _, plan := range w.Plans() {
			near.Addresses = append(near.Addresses, netip.PrefixFrom(addr(f, plan).Masked().Addr().Next(), addr(f, plan).Bits()))
			far.Addresses = append(far.Addresses, addr(f, plan))
		}
		assert.NoError(t, nstest.Connect(near, far, 1500))
		interfaces = append(interfaces, keys{"name": near.Name}, keys{"name": f.name, "sandbox": f.ns.Path()})
		for i, plan := range w.Plans() {
			family := map[bool]string{true: "-4", false: "-6"}[plan.Server.Is4()]
			table := fmt.Sprint(100 + f.n)
			f.ns.run("ip", family, "route", "add", "default", "via", near.Addresses[i].Addr().String(), "dev", f.name, "table", table)
			f.ns.run("ip", family, "rule", "add", "from", addr(f, plan).Addr().String(), "lookup", table)
			ips = append(ips, keys{"address": addr(f, plan).String(), "interface": len(interfaces) - 1})
		}
	}
	prev := keys{"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips}
	add := call{verb: "ADD", id: "several", netns: p.Path(), conf: w.behind().With(keys{"prevResult": prev})}
	seen := func(f face, plan nstest.Plan) netip.Addr {
		echo := assert.Must(w.Server.ServeUDP(at(plan.Server, 7)))(t)
		defer echo.Close()
		wire := assert.Must(w.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP }))(t)
		defer wire.Close()
		c := assert.Must(f.ns.Dial(soon(t), "udp", netip.AddrPortFrom(addr(f, plan).Addr(), 0), echo.Addr()))(t)
		defer c.Close()
		send(t, c, "from "+f.name)
		return w.lastFrom(wire, "from "+f.name).Addr()
	}
	for _, plan := range w.Plans() { // control
		for _, f := range faces {
			if got := seen(f, plan); got != addr(f, plan).Addr() {
				t.Errorf("before ADD the server sees %s of %s as %s", f.name, addr(f, plan), got)
			}
		}
	}
	w.call(add).done(new(types100.Result))
	for _, plan := range w.Plans() {
		for _, f := range faces {
			want := plan.Node
			if f.ns == other {
				want = addr(f, plan).Addr()
			}
			if got := seen(f, plan); got != want {
				t.Errorf("the server sees %s of %s as %s, not %s", f.name, addr(f, plan), got, want)
			}
		}
	}
	add.verb = "CHECK"
	w.call(add).done(nil)
	add.verb = "DEL"
	w.call(add).done(nil)
	if got := seen(faces[1], w.V4); got != addr(faces[1], w.V4).Addr() {
		t.Errorf("after DEL the server sees %s", got)
	}
}
