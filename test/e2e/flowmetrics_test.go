package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// masqd exports metrics of flows, and metrics of single attachments if they are requested.
// The control is a container without masquerading.
func TestFlowMetrics(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	masqueraded := w.attach("a", w.conflist("1.0.0", w.masq()))
	direct := w.attach("b", w.conflist("1.0.0", w.masq().With(keys{"ipMasq": false})))
	server, err := w.Server.ServeUDP(netip.AddrPortFrom(w.V4.Server, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	for range 3 {
		c, err := masqueraded.DialUDP(netip.AddrPort{}, netip.AddrPortFrom(w.V4.Server, 7))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	c, err := direct.DialUDP(netip.AddrPort{}, netip.AddrPortFrom(w.V4.Server, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	d := w.daemon("--attachment-metrics", "1")
	var text string
	until(t, "flows are sampled", func() bool {
		_, text = d.get("/metrics")
		return strings.Contains(text, "masq_flows_sample_timestamp_seconds ")
	})
	for _, line := range []string{
		"masq_translated_flows 3\n",
		`masq_attachment_flows{container="a",namespace="",network="net",pod=""} 3` + "\n",
		`masq_attachment_translated_flows{container="a",namespace="",network="net",pod=""} 3` + "\n",
		"masq_conntrack_entries ", "masq_conntrack_limit ", "masq_conntrack_insert_failed_total ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %q", line)
		}
	}
	if strings.Contains(text, `container="b"`) {
		t.Error("more attachments have metrics than were requested")
	}
	d.end()
}
