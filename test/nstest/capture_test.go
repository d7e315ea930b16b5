package nstest

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestCaptureSeesMSS(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{MTU: 1280}))(t)
	for _, p := range topo.Plans() {
		c := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return p.TCPFlags&SYN != 0 }))(t)
		srv := assert.Must(topo.Server.ServeTCP(at(p.Server, 0)))(t)
		assert.Must(topo.Node.Download(within(t), srv.Addr(), 10))(t)
		got := c.Packets()
		headers := uint16(40)
		if p.Node.Is6() {
			headers = 60
		}
		if len(got) != 2 || got[0].MSS != 1280-headers || got[1].MSS != 1500-headers {
			t.Fatalf("SYNs %v", got)
		}
		if got[0].Outgoing || got[0].Src != p.Node || got[0].Destination() != srv.Addr() ||
			!got[1].Outgoing || got[1].TCPFlags != SYN|ACK || got[1].Source() != srv.Addr() {
			t.Errorf("SYNs %v", got)
		}
	}
}

func TestCaptureSeesWireSizes(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	c := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return p.Proto == unix.IPPROTO_TCP }))(t)
	srv := assert.Must(topo.Server.ServeTCP(at(topo.V4.Server, 0)))(t)
	assert.Must(topo.Node.Download(within(t), srv.Addr(), 1_000_000))(t)
	all, err := c.Wait(within(t), func(all []Packet) bool { return len(all) > 600 })
	assert.NoError(t, err)
	for _, p := range all {
		if p.Length > 1500 || len(p.Payload) > 1448 {
			t.Fatalf("larger than the link: %v", p)
		}
	}
	if c.Lost() != 0 {
		t.Errorf("lost %d", c.Lost())
	}
}

func TestCaptureSeesFragments(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	for _, p := range topo.Plans() {
		c := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return !p.Outgoing && p.Proto == unix.IPPROTO_UDP }))(t)
		srv := assert.Must(topo.Server.ServeUDP(at(p.Server, 0)))(t)
		assert.NoError(t, topo.Node.EchoUDP(within(t), at(p.Node, 1023), srv.Addr(), 3000))
		got := c.Packets()
		if len(got) != 3 {
			t.Fatalf("fragments %v", got)
		}
		bytes := 0
		for i, f := range got {
			if f.FragOffset != bytes+min(i, 1)*8 || f.MoreFragments != (i < 2) || f.Src != p.Node {
				t.Errorf("fragment %d: %v", i, f)
			}
			if first := f.SrcPort == 1023 && f.Destination() == srv.Addr(); first != (i == 0) {
				t.Errorf("ports of fragment %d: %v", i, f)
			}
			bytes += len(f.Payload)
		}
		if bytes != 3000 {
			t.Errorf("%d bytes of payload", bytes)
		}
	}
}

func TestCaptureEnds(t *testing.T) {
	lab := New(t)
	n := assert.Must(lab.Namespace("a"))(t)
	c := assert.Must(n.Capture("lo", nil))(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitFor(ctx, func(Packet) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for nothing: %v", err)
	}
	assert.NoError(t, c.Close())
	assert.NoError(t, lab.Close())
	if len(c.Packets()) != 0 || c.Lost() != 0 {
		t.Error("a closed capture has packets")
	}
	if _, err := n.Capture("lo", nil); err == nil {
		t.Error("capture in a closed namespace")
	}
}
