package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// shortTimeouts are the timeouts of conntrack that programs notice if they are shorter than
// min, in seconds.
var shortTimeouts = []struct {
	key            string
	min, byDefault int
	what, why      string
}{
	{
		// Keepalives begin after 2 hours by default (tcp(7)), and many programs set less. RFC
		// 5382 asks for 2 hours and 4 minutes.
		"tcp_timeout_established", 3600, 432000, "TCP connections",
		"A connection that is idle for longer loses its translation: its next packet gets another source port, and the far end resets it.",
	},
	{
		// Resolvers wait 5 s for an answer (RES_TIMEOUT of resolv.h), and a server may ask
		// several others.
		"udp_timeout", 10, 30, "UDP queries",
		"An answer that comes later is lost, for example from a slow DNS server.",
	},
	{
		// Keepalives of VPNs and QUIC are up to 30 s apart.
		"udp_timeout_stream", 30, 120, "UDP flows",
		"A flow of a VPN or of QUIC that is idle for longer loses its translation: its next packet gets another source port.",
	},
}

var conntrackTimeouts = Check{
	ID:       "conntrack-timeouts",
	Title:    "A timeout of conntrack is shorter than programs expect",
	Severity: report.SeverityWarning,
	Reads:    "`nf_conntrack_tcp_timeout_established`, `nf_conntrack_udp_timeout`, `nf_conntrack_udp_timeout_stream`",
	Applies:  "the node has attachments",
	Remedy:   "Raise the timeout.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) (out []Finding, err error) {
		if len(n.Records) == 0 {
			return nil, nil
		}
		for _, t := range shortTimeouts {
			value, found, err := n.readConntrackSetting(t.key)
			if err != nil {
				return nil, err
			}
			if !found || value >= t.min {
				continue
			}
			out = append(out, Finding{
				Severity: report.SeverityWarning,
				Object:   "timeout of " + t.what,
				Message:  fmt.Sprintf("is %d s; the kernel's default is %d s", value, t.byDefault),
				Evidence: []Evidence{{conntrackSetting(t.key), fmt.Sprint(value)}},
				Why:      t.why,
				Remedy:   Remedy{Commands: []string{fmt.Sprintf("sysctl -w %s=%d", conntrackSetting(t.key), t.byDefault)}},
			})
		}
		return out, nil
	},
}
