package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var helperDaemon = Check{
	ID:           "helper-daemon",
	Title:        "masqd does not serve a helper that a policy has",
	Severity:     report.SeverityError,
	Reads:        "`helpers` of policies, the helpers that masqd wrote into its lock file",
	Applies:      "a policy has helpers of masqd: rtsp, talk, pna",
	Remedy:       "Start masqd, or remove the cause that its log names.",
	Cost:         Cheap,
	NeedsSummary: true,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		all, err := n.daemonHelpers()
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, u := range all {
			if d := n.Summary.Daemon; !d.Running || d.Elsewhere || !slices.Contains(d.Helpers, u.helper) {
				out = append(out, n.unserved(u))
			}
		}
		return out, nil
	},
}

// daemonHelper is a helper of masqd in use.
type daemonHelper struct {
	helper      string
	ports       []uint16
	attachments []int // indices of AllRecords; sourceCIDRs have none
}

// daemonHelpers returns the helpers of masqd that policies have, by name.
func (n *Node) daemonHelpers() (out []*daemonHelper, err error) {
	all, err := n.activePolicies()
	if err != nil {
		return nil, err
	}
	all.all(func(i int, p *masq.Policy) {
		if p.EgressDirect || i >= 0 && !n.examines(i) {
			return
		}
		for _, h := range p.DaemonHelpers() {
			at := slices.IndexFunc(out, func(u *daemonHelper) bool { return u.helper == h.Name })
			if at < 0 {
				at = len(out)
				out = append(out, &daemonHelper{helper: h.Name})
			}
			u := out[at]
			u.ports = append(u.ports, h.Ports...)
			slices.Sort(u.ports)
			u.ports = slices.Compact(u.ports)
			if i >= 0 {
				u.attachments = append(u.attachments, i)
			}
		}
	})
	slices.SortFunc(out, func(a, b *daemonHelper) int { return cmp.Compare(a.helper, b.helper) })
	return out, nil
}

// unserved is the finding about a helper that masqd does not serve.
func (n *Node) unserved(u *daemonHelper) Finding {
	d := n.Summary.Daemon
	f := Finding{
		Severity: report.SeverityError,
		Object:   "helper " + u.helper,
		Message:  fmt.Sprintf("of %s does not work: masqd does not run", n.usersOf(u.attachments)),
		Evidence: []Evidence{
			{"helpers of the policies", u.helper + " " + joinPorts(u.ports)},
			{"masqd", d.String()},
		},
		Why:    "New control connections reach their servers without the helper: the addresses in them are not translated, and what they announce fails.",
		Remedy: Remedy{Commands: []string{"systemctl start masqd"}},
	}
	switch {
	case d.Stopped:
		f.Message = fmt.Sprintf("of %s does not work: masqd is stopped", n.usersOf(u.attachments))
		f.Why = "The kernel still redirects control connections to the stopped process: they hang."
		f.Remedy.Commands = []string{fmt.Sprintf("kill -CONT %d", d.PID)}
	case d.Elsewhere:
		f.Message = fmt.Sprintf("of %s does not work: masqd works in another network namespace", n.usersOf(u.attachments))
		f.Remedy = Remedy{Text: "run masqd in this network namespace"}
	case d.Running:
		f.Message = fmt.Sprintf("of %s does not work: masqd does not serve it", n.usersOf(u.attachments))
		f.Evidence = append(f.Evidence, Evidence{"helpers in the lock file of masqd", cmp.Or(strings.Join(d.Helpers, ", "), "none")})
		f.Remedy = Remedy{
			Text:     "the log of masqd says why, unless it is a version without this helper: then update it",
			Commands: []string{"journalctl -u masqd", "systemctl restart masqd"},
		}
	}
	return f
}
