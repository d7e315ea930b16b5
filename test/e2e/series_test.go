package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// seriesOf returns the series of a scrape by metric.
func seriesOf(text string) (n int, rows map[string][]string) {
	rows = map[string][]string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		n++
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		rows[name] = append(rows[name], line)
	}
	return n, rows
}

// A container opens flows to hundreds of destinations and with every protocol number. The
// scrape stays within its documented maximum, and still has the only destination of another
// container, although forty destinations of the first container use more ports. The control:
// without the other container, the first has all series of destinations.
func TestSeriesAreBounded(t *testing.T) {
	documented := fmt.Sprintf("at most %d series, including the Go and process metrics, and %d more for each attachment", metrics.MaxSeries, metrics.SeriesPerAttachment)
	if !strings.Contains(textOf("docs/metrics.md"), documented) {
		t.Errorf("docs/metrics.md lacks: %s", documented)
	}
	w := newWorld(t, nstest.Uplink{})
	w.keepUDPFlows()
	list := w.conflist("1.0.0", w.masq())
	hostile, other := w.attach("hostile", list), w.attach("other", list)
	server := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(w.V4.Server, port) }
	send := func(from *pod, port uint16, flows int) {
		t.Helper()
		for range flows {
			c := assert.Must(from.DialUDP(netip.AddrPort{}, server(port)))(t)
			assert.Must(c.Write([]byte("x")))(t)
			assert.NoError(t, c.Close())
		}
	}
	// No program listens there: without the limit, each datagram would get an ICMP error.
	assert.NoError(t, w.Server.Sysctl("net.ipv4.icmp_ratelimit", "0"))
	for i := range uint16(300) {
		flows := 1
		if i < 40 {
			flows = 6
		}
		send(hostile, 20000+i, flows)
	}
	for proto := 100; proto < 256; proto++ {
		packet := nstest.UDPPacket(at(hostile.addr(w.V4.Node), 0), at(w.V4.Server, 0), []byte("x"))
		packet[9] = uint8(proto)
		assert.NoError(t, hostile.SendRaw(packet))
	}
	d := w.daemon("--attachment-metrics", "10")
	scrape := func(enough func(map[string][]string) bool) (n int, rows map[string][]string) {
		t.Helper()
		until(t, "flows are sampled", func() bool {
			_, text := d.get("/metrics")
			n, rows = seriesOf(text)
			return enough(rows)
		})
		return n, rows
	}
	check10 := func(n int, rows map[string][]string) {
		t.Helper()
		if most := metrics.MaxSeries + 10*metrics.SeriesPerAttachment; n > most {
			t.Errorf("%d series, more than %d", n, most)
		}
		if got := len(rows["masq_source_ports_used_ratio"]); got != flowstats.MaxDestinations {
			t.Errorf("%d destinations have series", got)
		}
		if got := len(rows["masq_flows"]); got > metrics.MaxStates || !strings.Contains(strings.Join(rows["masq_flows"], "\n"), `protocol="other"`) {
			t.Errorf("%d rows of flows:\n%s", got, strings.Join(rows["masq_flows"], "\n"))
		}
		t.Logf("%d series", n)
	}
	others := func(rows map[string][]string) (n int) {
		for _, r := range rows["masq_source_ports_used_ratio"] {
			if strings.Contains(r, `port="9"`) {
				n++
			}
		}
		return n
	}
	sampled := func(rows map[string][]string) bool { return len(rows["masq_source_ports_used_ratio"]) > 0 }
	n, rows := scrape(sampled)
	check10(n, rows)
	if others(rows) != 0 {
		t.Error("the other container's destination has a series before it sends")
	}
	d.end()

	send(other, 9, 5)
	d = w.daemon("--attachment-metrics", "10")
	n, rows = scrape(sampled)
	check10(n, rows)
	if others(rows) != 1 {
		t.Errorf("the other container's destination has no series:\n%s", strings.Join(rows["masq_source_ports_used_ratio"], "\n"))
	}
	d.end()
}
