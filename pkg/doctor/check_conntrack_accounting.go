package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

var conntrackAccounting = Check{
	ID:       "conntrack-accounting",
	Title:    "The NAT log has no bytes or no start times",
	Severity: report.SeverityWarning,
	Reads:    "`nf_conntrack_acct`, `nf_conntrack_timestamp`, the mark of the NAT log in the state directory",
	Applies:  "masqd keeps a NAT log",
	Remedy:   "Turn accounting and timestamps on.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		records, err := store.Open(n.StateDir)
		if err != nil {
			return nil, err
		}
		if kept, err := records.HasNATLog(); err != nil || !kept {
			return nil, err
		}
		var evidence []Evidence
		var lacks, commands []string
		for _, s := range []struct{ key, gives string }{{"acct", "the numbers of packets and bytes"}, {"timestamp", "the durations"}} {
			value, found, err := n.readConntrackSetting(s.key)
			if err != nil {
				return nil, err
			}
			if !found || value != 0 {
				continue
			}
			evidence = append(evidence, Evidence{conntrackSetting(s.key), fmt.Sprint(value)})
			lacks = append(lacks, s.gives)
			commands = append(commands, "sysctl -w "+conntrackSetting(s.key)+"=1")
		}
		if len(evidence) == 0 {
			return nil, nil
		}
		return []Finding{{
			Severity: report.SeverityWarning,
			Object:   "NAT log",
			Message:  "lacks " + strings.Join(lacks, " and ") + " of flows",
			Evidence: evidence,
			Why:      "The kernel does not record them, so the log cannot tell how much a container sent, or when a flow began.",
			Remedy:   Remedy{Text: "this applies to flows that begin afterwards", Commands: commands},
		}}, nil
	},
}
