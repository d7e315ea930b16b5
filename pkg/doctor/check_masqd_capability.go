package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var masqdCapability = Check{
	ID:           "masqd-capability",
	Title:        "masqd lacks a capability",
	Severity:     report.SeverityError,
	Reads:        "`CapEff` in `/proc/PID/status` of the process that has locked the records",
	Applies:      "masqd runs, and its process ID is known",
	Remedy:       "Give masqd CAP_NET_ADMIN.",
	NeedsSummary: true,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		if n.Summary.Daemon.PID == 0 {
			return nil, nil
		}
		path := fmt.Sprintf("/proc/%d/status", n.Summary.Daemon.PID)
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil, nil // it has ended
		}
		if err != nil {
			return nil, err
		}
		text, effective, ok := effectiveCapabilities(string(b))
		if !ok {
			return nil, notChecked(path + " has no CapEff")
		}
		if effective&(1<<unix.CAP_NET_ADMIN) != 0 {
			return nil, nil
		}
		return []Finding{{
			Severity: report.SeverityError,
			Object:   "masqd",
			Message:  fmt.Sprintf("does not have CAP_NET_ADMIN (process %d)", n.Summary.Daemon.PID),
			Evidence: []Evidence{{path + ", CapEff", text}},
			Why:      "The kernel refuses its changes: rules, links and flows are not repaired.",
			Remedy: Remedy{
				Text:     "give it the capability: CapabilityBoundingSet=CAP_NET_ADMIN and AmbientCapabilities=CAP_NET_ADMIN in its unit, or securityContext.capabilities.add: [NET_ADMIN] in its pod",
				Commands: []string{"systemctl restart masqd"},
			},
		}}, nil
	},
}

// effectiveCapabilities reads CapEff of a process's status (proc_pid_status(5)).
func effectiveCapabilities(status string) (text string, set uint64, ok bool) {
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			text = strings.TrimSpace(value)
			set, err := strconv.ParseUint(text, 16, 64)
			return text, set, err == nil
		}
	}
	return "", 0, false
}
