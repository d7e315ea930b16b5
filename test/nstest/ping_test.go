package nstest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestPingSeesErrors(t *testing.T) {
	lab := New(t)
	topo := assert.Must(lab.Topology(Uplink{MTU: 1280}))(t)
	client, addrs := pod(t, lab, topo, true)
	for i, p := range topo.Plans() {
		for range 10 { // more than a rate limit would allow
			r := assert.Must(client.Ping(within(t), p.Server, PingOptions{TTL: 2}))(t)
			if !r.TimeExceeded() || r.From != p.Router || r.Reply() || r.TooBig() {
				t.Fatalf("TTL 2 to %s: %+v", p.Server, r)
			}
		}
		r := assert.Must(client.Ping(within(t), p.Server, PingOptions{Size: 1400, DontFragment: true}))(t)
		gateway := addrs[i].Prev()
		if !r.TooBig() || r.MTU != 1280 || r.From != gateway {
			t.Errorf("1400 bytes to %s: %+v", p.Server, r)
		}
		r = assert.Must(client.Ping(within(t), p.Server, PingOptions{Size: 1000, DontFragment: true}))(t)
		if !r.Reply() || r.From != p.Server || r.RTT <= 0 {
			t.Errorf("1000 bytes to %s: %+v", p.Server, r)
		}
	}
}

func TestPingEndsWithItsContext(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	// The server has a route to the node, so it would answer.
	assert.NoError(t, topo.Server.Sysctl("net.ipv4.icmp_echo_ignore_all", "1"))
	_, err := topo.Node.Ping(withinTime(t, 50*time.Millisecond), topo.V4.Server, PingOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	lonely := assert.Must(New(t).Namespace("lonely"))(t)
	if _, err := lonely.Ping(within(t), netip.MustParseAddr("192.0.2.1"), PingOptions{}); err == nil {
		t.Error("ping without a route")
	}
}
