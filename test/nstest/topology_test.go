package nstest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestTopologyReaches(t *testing.T) {
	lab := New(t)
	topo := assert.Must(lab.Topology(Uplink{}))(t)
	stranger, addrs := pod(t, lab, topo, false)
	for i, p := range topo.Plans() {
		if r := assert.Must(topo.Node.Ping(within(t), p.Server, PingOptions{}))(t); !r.Reply() || r.From != p.Server {
			t.Errorf("ping %s: %+v", p.Server, r)
		}
		srv := assert.Must(topo.Server.ServeTCP(at(p.Server, 0)))(t)
		if got := assert.Must(topo.Node.Who(within(t), at(p.Node, 1000), srv.Addr()))(t); got != at(p.Node, 1000) {
			t.Errorf("seen as %s", got)
		}
		// An untranslated packet arrives and gets no answer.
		seen := assert.Must(topo.Server.Capture("eth0", func(p Packet) bool { return p.Src == addrs[i] }))(t)
		ctx, cancel := context.WithCancel(within(t))
		answer := make(chan error, 1)
		go func() {
			_, err := stranger.Ping(ctx, p.Server, PingOptions{})
			answer <- err
		}()
		assert.Must(seen.WaitFor(ctx, func(p Packet) bool { return p.ICMPRest != 0 }))(t)
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("a stranger's ping: %v", err)
		}
	}
}

// TestNarrowUplinkFreezes is the fault for which masq was written: a download freezes on a narrow
// link if ICMP errors are dropped. The controls are the same download with ICMP errors, and
// without a narrow link.
func TestNarrowUplinkFreezes(t *testing.T) {
	const size = 300_000
	for _, c := range []struct {
		uplink Uplink
		freeze []bool // by family
	}{
		{Uplink{MTU: 212, DropPMTU: true}, []bool{true}},
		{Uplink{MTU: 212}, []bool{false}},
		{Uplink{MTU: 1280, DropPMTU: true}, []bool{true, true}},
		{Uplink{MTU: 1280}, []bool{false, false}},
		{Uplink{MTU: 1500, DropPMTU: true}, []bool{false, false}},
	} {
		t.Run(fmt.Sprintf("%+v", c.uplink), func(t *testing.T) {
			lab := New(t)
			topo := assert.Must(lab.Topology(c.uplink))(t)
			if len(topo.Plans()) != len(c.freeze) {
				t.Fatalf("%d families", len(topo.Plans()))
			}
			client, _ := pod(t, lab, topo, true)
			for i, p := range topo.Plans() {
				srv := assert.Must(topo.Server.ServeTCP(at(p.Server, 0)))(t)
				patience := 5 * time.Second
				if c.freeze[i] {
					patience = 600 * time.Millisecond
				}
				got, err := client.Download(withinTime(t, patience), srv.Addr(), size)
				if c.freeze[i] {
					if got.Bytes != 0 || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %+v, %v; want it frozen", p.Server, got, err)
					}
					if assert.Must(topo.Router.PMTUDropped())(t) == 0 {
						t.Errorf("%s: the router dropped no message", p.Server)
					}
				} else if err != nil || got.Bytes != size {
					t.Errorf("%s: %+v, %v", p.Server, got, err)
				}
				// In this direction the node is the narrow hop, and its ICMP errors arrive.
				up, err := client.Upload(within(t), srv.Addr(), size)
				if err != nil || up.Bytes != size {
					t.Errorf("upload to %s: %+v, %v", p.Server, up, err)
				}
			}
		})
	}
}
