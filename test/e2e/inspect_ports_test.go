package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPortMetrics: masqd's metrics and /readyz warn before source ports run out, and
// count flows that got no port. masqd stays ready.
func TestPortMetrics(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attach("tight", w.conflist("1.1.0", w.masq().With(keys{"toPorts": "20000-20019"})))
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 53)))(t)
	g := w.gauge(t)
	labels := fmt.Sprintf(`{destination="%s",egress="%s",port="53",protocol="udp",zone="0"} `, w.V4.Server, w.V4.Node)
	opened := 0
	for _, tt := range []struct {
		used    int
		tries   bool // opens one more flow, for which no port is left
		reasons []string
		metrics []string
	}{
		{0, false, nil, []string{`masq_source_ports_warnings{severity="critical"} 0`, "masq_source_ports_failed_packets_total 0"}},
		{14, false, nil, []string{"masq_source_ports_used_ratio" + labels + "0.7\n", `masq_source_ports_warnings{severity="notice"} 1`}},
		{
			17, false,
			[]string{"source ports of " + w.V4.Node.String() + " for udp to " + server.Addr().String() + " are 85 % in use"},
			[]string{"masq_source_ports_used_ratio" + labels + "0.85\n", `masq_source_ports_warnings{severity="warning"} 1`, "masq_source_ports_failed_packets_total 0"},
		},
		{
			20, true,
			[]string{"source ports of " + w.V4.Node.String() + " for udp to " + server.Addr().String() + " are 100 % in use"},
			[]string{
				"masq_source_ports_used_ratio" + labels + "1\n", `masq_source_ports_warnings{severity="critical"} 1`,
				"masq_source_ports_exhausted_seconds" + labels + "0\n", "masq_source_ports_failed_packets_total 1\n",
			},
		},
	} {
		for ; opened < tt.used; opened++ {
			if !g.opens(t, p, "udp", server.Addr()) {
				t.Fatalf("only %d of 20 ports", opened)
			}
		}
		if tt.tries && g.opens(t, p, "udp", server.Addr()) {
			t.Error("a 21st flow had a port")
		}
		if n := w.portsTo(t, "udp", server.Addr()); n != tt.used {
			t.Fatalf("conntrack(8) counts %d ports, not %d", n, tt.used)
		}
		// Each masqd takes its first sample when it is first asked. The next sample would be
		// seconds later.
		d := w.daemon()
		var detail readinessDetail
		var text string
		until(t, fmt.Sprintf("masqd reports %d ports in use", tt.used), func() bool {
			code, body := d.get("/readyz")
			_, text = d.get("/metrics")
			return code == 200 && json.Unmarshal([]byte(body), &detail) == nil && strings.Contains(text, "masq_flows_sample_timestamp_seconds ") && len(detail.Reasons) == len(tt.reasons)
		})
		for i, want := range tt.reasons {
			if !strings.HasPrefix(detail.Reasons[i], want) {
				t.Errorf("%d in use: %q, not %q", tt.used, detail.Reasons[i], want)
			}
		}
		for _, want := range tt.metrics {
			if !strings.Contains(text, want) {
				t.Errorf("%d in use: no %q among\n%s", tt.used, want, text)
			}
		}
		d.end()
	}
	// The control: towards another server all ports are free.
	other := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 54)))(t)
	if !g.opens(t, p, "udp", other.Addr()) || g.of(t, g.sample(t), unix.IPPROTO_UDP, other.Addr()).Used != 1 {
		t.Error("there is no port towards another server")
	}
}

// readinessDetail is the answer of /readyz.
type readinessDetail struct {
	Ready   bool
	Reasons []string
}
