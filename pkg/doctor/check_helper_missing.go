package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var helperMissing = Check{
	ID:       "helper-missing",
	Title:    "The kernel lacks a helper that a policy has",
	Severity: report.SeverityError,
	Reads:    "`helpers` of policies, a transaction that the kernel checks and does not apply, `/proc/modules`",
	Applies:  "a policy has helpers",
	Remedy:   "Load the module.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		lists, err := n.helperLists()
		if err != nil || len(lists) == 0 {
			return nil, err
		}
		missing := map[nft.MissingHelper]*helperList{}
		var order []nft.MissingHelper
		for _, l := range lists {
			lacks, err := queryRules(func(c *nft.Conn) ([]nft.MissingHelper, error) {
				return c.MissingHelpers(masq.Policy{Helpers: l.helpers})
			})
			if err != nil {
				return nil, err
			}
			for _, m := range lacks {
				if missing[m] == nil {
					missing[m] = &helperList{}
					order = append(order, m)
				}
				missing[m].add(l)
			}
		}
		var out []Finding
		for _, m := range order {
			out = append(out, n.missingHelper(m, missing[m]))
		}
		return out, nil
	},
}

func (n *Node) missingHelper(m nft.MissingHelper, users *helperList) Finding {
	return Finding{
		Severity: report.SeverityError,
		Object:   "helper " + m.Helper,
		Message:  fmt.Sprintf("of %s does not work: the kernel lacks module %s", n.usersOf(users.attachments), m.Module),
		Evidence: []Evidence{
			{"helpers of the policy", m.Helper + " " + joinPorts(portsOfHelper(&masq.Policy{Helpers: users.helpers}, m.Helper))},
			{"/proc/modules and modules.builtin", "no " + m.Module},
		},
		Why: "Addresses in the payload are not translated, and the connections that they announce fail.",
		Remedy: Remedy{Commands: []string{
			"modprobe " + m.Module,
			"echo " + m.Module + " >>/etc/modules-load.d/masq-cni.conf",
		}},
	}
}

// helperList is a list of helpers, and the attachments whose policy has it.
type helperList struct {
	helpers     []masq.Helper
	attachments []int // indices of AllRecords; sourceCIDRs have none
}

// add adds the attachments of another list, and its helpers if there are none yet.
func (l *helperList) add(o *helperList) {
	if len(l.helpers) == 0 {
		l.helpers = o.helpers
	}
	l.attachments = append(l.attachments, o.attachments...)
}

// helperLists returns the different lists of helpers in use, in the order of attachments. A
// policy that translates nothing needs no helper.
func (n *Node) helperLists() (out []*helperList, err error) {
	all, err := n.activePolicies()
	if err != nil {
		return nil, err
	}
	known := map[string]*helperList{}
	all.all(func(i int, p *masq.Policy) {
		if len(p.KernelHelpers()) == 0 || p.EgressDirect || i >= 0 && !n.examines(i) {
			return
		}
		var words []string
		for _, h := range p.KernelHelpers() {
			words = append(words, h.Name+" "+joinPorts(h.Ports))
		}
		slices.Sort(words)
		key := strings.Join(words, "; ")
		l := known[key]
		if l == nil {
			l = &helperList{helpers: p.KernelHelpers()}
			known[key] = l
			out = append(out, l)
		}
		if i >= 0 {
			l.attachments = append(l.attachments, i)
		}
	})
	return out, nil
}
