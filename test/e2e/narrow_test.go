package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestNarrowLink is the founding bug: the uplink is narrower than both ends believe and the
// router sends no ICMP errors. Full segments of the server are lost until the segment size
// is clamped. It tests connections in both directions and both families.
func TestNarrowLink(t *testing.T) {
	for _, c := range []struct {
		mtu    int
		clamp  any // nil is the default
		mss    []uint16
		freeze bool
	}{
		// The MTU minus 40 bytes of headers in IPv4, 60 in IPv6.
		{mtu: 212, mss: []uint16{172}},
		{mtu: 212, clamp: "pmtu", mss: []uint16{172}},
		{mtu: 212, clamp: 100, mss: []uint16{100}},
		{mtu: 212, clamp: "off", mss: []uint16{1460}, freeze: true},
		{mtu: 212, clamp: 1000, mss: []uint16{1000}, freeze: true}, // as configured, although too large to help
		{mtu: 1280, mss: []uint16{1240, 1220}},
		{mtu: 1280, clamp: 1200, mss: []uint16{1200, 1200}},
		{mtu: 1280, clamp: "off", mss: []uint16{1460, 1440}, freeze: true},
		// On a wide link nothing freezes, and a clamp never raises the MSS.
		{mtu: 1500, clamp: "off", mss: []uint16{1460, 1440}},
		{mtu: 1500, mss: []uint16{1460, 1440}},
		{mtu: 1500, clamp: 9000, mss: []uint16{1460, 1440}},
	} {
		t.Run(fmt.Sprintf("MTU %d, mssClamp %v", c.mtu, c.clamp), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{MTU: c.mtu, DropPMTU: true})
			p := w.pod("a")
			p.runtime.CapabilityArgs = published
			p.attach(w.conflist("1.0.0", w.masq().With(keys{"mtu": 1500, "mssClamp": c.clamp}), portmap()))
			for i, plan := range w.Plans() {
				w.toContainer(p, plan, c.mss[i], c.freeze)
				w.fromContainer(p, plan)
			}
			if n := assert.Must(w.Router.PMTUDropped())(t); c.freeze != (n > 0) {
				t.Errorf("the router dropped %d messages", n)
			}
		})
	}
}

const (
	narrowSize    = 300_000
	containerPort = 80
	nodePort      = 8080
)

// published are the arguments of portmap for a container's server.
var published = map[string]any{"portMappings": []keys{{"hostPort": nodePort, "containerPort": containerPort, "protocol": "tcp"}}}

func portmap() keys {
	return keys{"type": "portmap", "backend": "nftables", "capabilities": keys{"portMappings": true}}
}

// toContainer sends to the container, by a connection that the container opens and by one that
// the server opens. In this direction no host learns of the narrow link. It runs first, because a container that has
// learned of the narrow link announces a smaller MSS.
func (w *world) toContainer(c *pod, p nstest.Plan, mss uint16, freeze bool) {
	t := w.t
	t.Helper()
	srv, _ := w.servers(p.Server)
	assert.Must(c.ServeTCP(at(c.addr(p.Server), containerPort)))(t)
	door := at(p.Node, nodePort)

	syns := func(n *nstest.NS, flags nstest.TCPFlags, src netip.Addr) *nstest.Capture {
		return assert.Must(n.Capture("eth0", syn(flags, src)))(t)
	}
	outward := syns(w.Server, nstest.SYN, p.Node)
	outwardAnswer := syns(c.NS, nstest.SYN|nstest.ACK, p.Server)
	inward := syns(c.NS, nstest.SYN, p.Server)
	inwardAnswer := syns(w.Server, nstest.SYN|nstest.ACK, p.Node)
	data := assert.Must(c.Capture("eth0", func(q nstest.Packet) bool {
		return !q.Outgoing && q.DstPort == containerPort && len(q.Payload) > len("PUT\n")
	}))(t)

	patience := soon
	if freeze {
		patience = briefly
	}
	got, err := c.Download(patience(t), srv, narrowSize)
	switch {
	case !freeze && (err != nil || got.Bytes != narrowSize):
		t.Errorf("download from %s: %+v, %v", srv, got, err)
	case freeze && (!errors.Is(err, context.DeadlineExceeded) || got.Bytes != 0):
		t.Errorf("download from %s: %+v, %v; want it frozen", srv, got, err)
	}
	got, err = w.Server.Upload(patience(t), door, narrowSize)
	switch {
	case !freeze && (err != nil || got.Bytes != narrowSize):
		t.Errorf("upload to the container by %s: %+v, %v", door, got, err)
	case freeze && (!errors.Is(err, context.DeadlineExceeded) || len(packets(t, data)) != 0):
		t.Errorf("upload to the container by %s: %v and %d segments; want it frozen", door, err, len(packets(t, data)))
	}
	wantMSS(t, "SYN of the container", packets(t, outward), mss)
	wantMSS(t, "answer of the server", packets(t, outwardAnswer), mss)
	wantMSS(t, "SYN of the server", packets(t, inward), mss)
	wantMSS(t, "answer of the container", packets(t, inwardAnswer), mss)
}

// fromContainer has the container send, by a connection that the container opens and by one
// that the server opens. The node is the narrow hop, and its ICMP errors reach the container: nothing freezes in any setting.
func (w *world) fromContainer(c *pod, p nstest.Plan) {
	t := w.t
	t.Helper()
	srv, _ := w.servers(p.Server)
	if got, err := c.Upload(soon(t), srv, narrowSize); err != nil || got.Bytes != narrowSize {
		t.Errorf("upload to %s: %+v, %v", srv, got, err)
	}
	door := at(p.Node, nodePort)
	if got, err := w.Server.Download(soon(t), door, narrowSize); err != nil || got.Bytes != narrowSize {
		t.Errorf("download from the container by %s: %+v, %v", door, got, err)
	}
}

// syn filters packets from an address that open a connection or answer its opening.
func syn(flags nstest.TCPFlags, src netip.Addr) func(nstest.Packet) bool {
	return func(p nstest.Packet) bool {
		return !p.Outgoing && p.Proto == unix.IPPROTO_TCP && p.TCPFlags == flags && p.Src == src
	}
}

// wantMSS checks the MSS of packets of a kind: one packet, or retransmissions on a slow
// machine.
func wantMSS(t testing.TB, what string, got []nstest.Packet, mss uint16) {
	t.Helper()
	if len(got) == 0 {
		t.Errorf("%s: none was seen", what)
	}
	for _, p := range got {
		if p.MSS != mss {
			t.Errorf("%s: %v, want MSS %d", what, p, mss)
		}
	}
}

// TestUplinkMTU: by default the container's link has the uplink's MTU, and its kernel
// announces the corresponding MSS.
func TestUplinkMTU(t *testing.T) {
	for _, c := range []struct {
		uplink, given, want int
		mss                 []uint16
		freeze              bool
	}{
		{1500, 0, 1500, []uint16{1460, 1440}, false},
		{1280, 0, 1280, []uint16{1240, 1220}, false},
		// The kernel announces at least net.ipv4.route.min_adv_mss: for a smaller MTU only the
		// clamp helps.
		{212, 0, 212, []uint16{256}, true},
		{212, 1500, 1500, []uint16{1460}, true},
		{1280, 1500, 1500, []uint16{1460, 1440}, true},
		{1500, 1300, 1300, []uint16{1260, 1240}, false},
	} {
		t.Run(fmt.Sprintf("uplink %d, mtu %d", c.uplink, c.given), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{MTU: c.uplink, DropPMTU: true})
			p := w.attach("a", w.conflist("1.1.0", w.masq().With(keys{"mtu": c.given, "mssClamp": "off"})))
			inside := assert.Must(p.MTU("eth0"))(t)
			outside := assert.Must(w.Node.MTU(p.result.Interfaces[0].Name))(t)
			if inside != c.want || outside != c.want {
				t.Errorf("the link has MTU %d inside and %d outside, want %d", inside, outside, c.want)
			}
			for i, plan := range w.Plans() {
				srv, _ := w.servers(plan.Server)
				arrived := assert.Must(w.Server.Capture("eth0", syn(nstest.SYN, plan.Node)))(t)
				patience := soon
				if c.freeze {
					patience = briefly
				}
				got, err := p.Download(patience(t), srv, narrowSize)
				if (got.Bytes == 0) != c.freeze || (err != nil) != c.freeze {
					t.Errorf("download from %s: %+v, %v; want it frozen: %v", srv, got, err, c.freeze)
				}
				wantMSS(t, "SYN", packets(t, arrived), c.mss[i])
			}
		})
	}
}
