package report

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// TestDefaultTablesFit80Columns: tables with short names and addresses fit 80 columns.
func TestDefaultTablesFit80Columns(t *testing.T) {
	owner := Owner{Network: "pods", ContainerID: strings.Repeat("c0ffee", 10), Interface: "eth0", PodNamespace: "shop", PodName: "web"}
	flow := Flow{
		Owner: owner, Direction: Out, Protocol: "icmp", NAT: "snat", State: "established",
		Original:   Tuple{Source: addr("10.88.0.2"), SourcePort: 52442, Destination: addr("198.51.100.2"), DestinationPort: 443},
		Translated: Tuple{Source: addr("192.0.2.2"), SourcePort: 51688, Destination: addr("198.51.100.2"), DestinationPort: 443},
		Begin:      Time{noon.Add(-48 * time.Hour)}, Packets: Sides{Original: 1}, Bytes: Sides{Original: 999_940}, Duration: Seconds(48 * time.Hour),
	}
	closed := flow
	closed.End, closed.State = Time{noon.Add(-47 * time.Hour)}, "closed"
	begun := uint64(12345)
	attachment := Attachment{
		Owner: owner, Addresses: []netip.Addr{addr("10.88.0.2"), addr("fd00:88::2")}, Policy: "7500e0877c52",
		Count: Count{Flows: 12345, Translated: 12345, Packets: Sides{Original: 1}, Bytes: Sides{Original: 999_940}}, Begun: &begun,
	}
	ports := PortsOf(&portpool.Sample{
		Time: noon, UnlistedShare: 0.123, Lost: portpool.Losses{NoPort: 1_000_000, NoRoom: 1_000_000},
		Groups: []portpool.Forecast{{Usage: portpool.Usage{
			Group:  portpool.Group{Protocol: unix.IPPROTO_TCP, Egress: addr("192.0.2.2"), Destination: addr("198.51.100.2"), Port: 443},
			Usable: 1000, Used: 955, Holders: []portpool.Holder{{Source: addr("10.0.0.3"), Ports: 5}},
		}, Severity: portpool.Critical, Rate: 0.5, ExhaustedIn: time.Minute}},
	}, true, OwnersOf(nil))
	for name, write := range map[string]func(*bytes.Buffer) error{
		"flows": func(b *bytes.Buffer) error { return writeTable(b, Style{}, FlowColumns(), []Flow{flow}) },
		"past flows": func(b *bytes.Buffer) error {
			return writeTable(b, Style{}, PastFlowColumns(time.UTC), []Flow{flow, closed})
		},
		"attachments": func(b *bytes.Buffer) error { return WriteAttachments(b, Style{}, []Attachment{attachment}, noon) },
		"ports":       func(b *bytes.Buffer) error { return ports.WriteText(b, Style{}) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := displaywidth.String(strings.TrimSuffix(line, "\n")); n > columns {
				t.Errorf("%s: a line has %d columns\n%s", name, n, b.String())
				break
			}
		}
	}
}

// TestPastFlows: times are in the given zone. The end has a day only if it differs from the
// begin's. A flow without an end is open.
func TestPastFlows(t *testing.T) {
	begin := time.Date(2026, 3, 1, 22, 59, 0, 0, time.UTC)
	flows := []Flow{{State: "open", Begin: Time{begin}}, {State: "closed", Begin: Time{begin}, End: Time{begin.Add(30 * time.Second)}}, {State: "closed", Begin: Time{begin}, End: Time{begin.Add(2 * time.Minute)}}, {State: "closed", End: Time{begin}}}
	for i, want := range []string{"Mar 01 23:59:00  open", "Mar 01 23:59:00  23:59:30", "Mar 01 23:59:00  Mar 02 00:01:00", "-  Mar 01 23:59:00"} {
		cells := Cells(VisibleColumns(PastFlowColumns(time.FixedZone("here", 3600)), Style{}), &flows[i])
		if got := strings.Join(cells[len(cells)-2:], "  "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
