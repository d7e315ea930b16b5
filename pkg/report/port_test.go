package report

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// TestPortProblems: a problem has the group, the time until it is exhausted, and the holders.
func TestPortProblems(t *testing.T) {
	group := func(proto uint8, to string, port uint16, used int, level portpool.Severity, left time.Duration, holders ...portpool.Holder) portpool.Forecast {
		g := portpool.Group{Protocol: proto, Egress: addr("192.0.2.2"), Destination: addr(to), Port: port}
		return portpool.Forecast{Usage: portpool.Usage{Group: g, Usable: 20, Used: used, Holders: holders}, Severity: level, ExhaustedIn: left}
	}
	groups := PortsOf(&portpool.Sample{Groups: []portpool.Forecast{
		group(unix.IPPROTO_TCP, "198.51.100.2", 443, 20, portpool.Critical, 0, portpool.Holder{Source: addr("10.88.0.2"), Ports: 12}, portpool.Holder{Source: addr("10.77.0.9"), Ports: 3}),
		group(unix.IPPROTO_UDP, "198.51.100.2", 53, 17, portpool.Warning, portpool.Never),
		group(unix.IPPROTO_ICMP, "198.51.100.3", 8<<8, 11, portpool.Warning, 90*time.Second),
		group(unix.IPPROTO_TCP, "198.51.100.4", 443, 14, portpool.Notice, time.Hour),
		group(unix.IPPROTO_TCP, "198.51.100.5", 443, 1, portpool.OK, portpool.Never),
	}}, true, OwnersOf(records())).Groups
	var got []string
	for _, p := range PortProblems(groups) {
		got = append(got, p.Advice())
		if p.Severity != SeverityWarning || p.Kind != KindPortsScarce {
			t.Errorf("%+v", p)
		}
	}
	const remedy = "; masq-cni inspect ports shows which pods hold them"
	want := []string{
		"source ports of 192.0.2.2 for tcp to 198.51.100.2:443 are 100 % in use; most are held by shop/web 12, 10.77.0.9 3" + remedy,
		"source ports of 192.0.2.2 for udp to 198.51.100.2:53 are 85 % in use" + remedy,
		"source ports of 192.0.2.2 for icmp to 198.51.100.3 type 8 are 55 % in use, all in about 1m30s" + remedy,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := Exhausted(groups); got != "192.0.2.2 for tcp to 198.51.100.2:443" {
		t.Errorf("%q", got)
	}
	if got := Exhausted(groups[1:]); got != "" {
		t.Errorf("%q", got)
	}
}
