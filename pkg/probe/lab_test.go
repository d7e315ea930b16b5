package probe

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// path is client - r1 - r2 - server, each link with MTU 1500 but for the one between the
// routers.
type path struct {
	t                      testing.TB
	client, r1, r2, server *nstest.NS
	v4, v6                 netip.Addr // addresses of the server
	routers                map[bool][]netip.Addr
}

// newPath makes a path whose middle link has an MTU. With silent, no router says so.
func newPath(t testing.TB, mtu int, silent bool) *path {
	lab := nstest.New(t)
	p := &path{t: t, v4: netip.MustParseAddr("10.3.0.2"), v6: netip.MustParseAddr("fd00:3::2")}
	for name, to := range map[string]**nstest.NS{"client": &p.client, "r1": &p.r1, "r2": &p.r2, "server": &p.server} {
		*to = assert.Must(lab.Namespace(name))(t)
	}
	p.routers = map[bool][]netip.Addr{
		true:  {netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2")},
		false: {netip.MustParseAddr("fd00:1::2"), netip.MustParseAddr("fd00:2::2")},
	}
	end := func(n *nstest.NS, name, v4, v6 string, mtu int) nstest.End {
		e := nstest.End{NS: n, Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(v4)}}
		if mtu >= 1280 {
			e.Addresses = append(e.Addresses, netip.MustParsePrefix(v6))
		}
		return e
	}
	assert.NoError(t, nstest.Connect(end(p.client, "eth0", "10.1.0.1/24", "fd00:1::1/64", 1500), end(p.r1, "left", "10.1.0.2/24", "fd00:1::2/64", 1500), 1500))
	assert.NoError(t, nstest.Connect(end(p.r1, "right", "10.2.0.1/24", "fd00:2::1/64", mtu), end(p.r2, "left", "10.2.0.2/24", "fd00:2::2/64", mtu), mtu))
	assert.NoError(t, nstest.Connect(end(p.r2, "right", "10.3.0.1/24", "fd00:3::1/64", 1500), end(p.server, "eth0", "10.3.0.2/24", "fd00:3::2/64", 1500), 1500))
	for _, r := range []struct {
		n        *nstest.NS
		dst, via string
	}{
		{p.client, "0.0.0.0/0", "10.1.0.2"},
		{p.client, "::/0", "fd00:1::2"},
		{p.r1, "10.3.0.0/24", "10.2.0.2"},
		{p.r1, "fd00:3::/64", "fd00:2::2"},
		{p.r2, "10.1.0.0/24", "10.2.0.1"},
		{p.r2, "fd00:1::/64", "fd00:2::1"},
		{p.server, "0.0.0.0/0", "10.3.0.1"},
		{p.server, "::/0", "fd00:3::1"},
	} {
		via := netip.MustParseAddr(r.via)
		if mtu < 1280 && via.Is6() {
			continue
		}
		assert.NoError(t, r.n.Route(netip.MustParsePrefix(r.dst), via))
	}
	for _, r := range []*nstest.NS{p.r1, p.r2} {
		assert.NoError(t, r.Forward())
		if silent {
			assert.NoError(t, r.DropPMTU())
		}
	}
	return p
}

// run probes from the client, and checks that packets went to the target only, and how many.
func (p *path) run(t Target) Result {
	p.t.Helper()
	sent := assert.Must(p.client.Capture("eth0", func(q nstest.Packet) bool {
		return q.Outgoing && q.Proto != unix.IPPROTO_ICMPV6 // neighbor discovery
	}))(p.t)
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Minute)
	defer cancel()
	var r Result
	assert.NoError(p.t, p.client.Do(func() (err error) {
		r, err = Run(ctx, t)
		return err
	}))
	all := sent.Packets()
	type segment struct {
		port     uint16
		seq, ack uint32
		flags    nstest.TCPFlags
		bytes    int
	}
	once := map[segment]bool{} // a busy machine retransmits segments
	for _, q := range all {
		once[segment{q.SrcPort, q.Seq, q.Ack, q.TCPFlags, len(q.Payload)}] = true
		if q.Dst != t.Address.Addr() {
			p.t.Errorf("a packet to another address: %s", q)
		}
	}
	p.t.Logf("%d packets, %.2f s: %+v", len(all), r.Duration.Seconds(), r)
	if len(all) == 0 || len(once) > MaxPackets || sent.Lost() > 0 {
		p.t.Errorf("%d packets were sent, %d without retransmissions; at most %d are allowed", len(all), len(once), MaxPackets)
	}
	return r
}
