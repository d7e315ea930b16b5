package e2e

import (
	"fmt"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestRTSPSegments: masqd's connection to a server has the segment size of the container's
// policy. The rules do not clamp it, because the node does not forward it.
func TestRTSPSegments(t *testing.T) {
	clamps := keys{"198.51.100.0/24": 1000, "2001:db8:2::/64": 1100}
	for _, c := range []struct {
		conf keys
		mss  []uint16
	}{
		{keys{}, []uint16{1460, 1440}},
		{keys{"mssClamp": 900}, []uint16{900, 900}},
		{keys{"mssClamps": clamps}, []uint16{1000, 1100}},
		{keys{"mssClamps": clamps, "mssClamp": 1050}, []uint16{1000, 1050}},
	} {
		t.Run(fmt.Sprint(c.conf), func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			d := w.daemon()
			p := w.attach("a", w.conflist("1.1.0", w.helped().With(c.conf)))
			w.redirected(p)
			for i, plan := range w.Plans() {
				w.craftedServer(plan.Server)
				seen := assert.Must(w.Server.Capture("eth0", func(q nstest.Packet) bool { return syn(nstest.SYN, plan.Node)(q) && q.DstPort == rtspPort }))(t)
				p.rtsp(t, plan.Server).setup()
				wantMSS(t, fmt.Sprintf("SYN to %s", plan.Server), packets(t, seen), c.mss[i])
				_ = seen.Close()
			}
			if got := d.metric(`masq_helper_opened_total{helper="rtsp"}`); got != "4" {
				t.Errorf("%s ports were opened: the connections were not masqd's", got)
			}
		})
	}
}
