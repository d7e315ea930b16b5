package doctor

import (
	"context"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// linkDrift is the check for links that differ from what ADD made.
var linkDrift = Check{
	ID: string(report.KindLinkDrift), Title: "A link of a container differs from what ADD made", Severity: report.SeverityError,
	Reads:        "both ends of the links, their addresses, routes and settings, the records in --state-dir",
	Applies:      "an attachment of main mode",
	Remedy:       "masqd restores the node's ends. Recreate the pod to restore the container's end.",
	NeedsSummary: true,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		k := problemCheck{
			kind: report.KindLinkDrift, part: report.PartLinks,
			why: "Packets of the container do not leave, do not arrive, or take another way.",
		}
		if n.Summary.Links == nil {
			return k.findings(n)
		}
		// Only differences of examined attachments count. forwardingOff reports forwarding.
		changes := slices.DeleteFunc(slices.Clone(n.Summary.Links.Changes), func(c report.Change) bool {
			return c.Forwarding || c.Attachment != "" && !n.isExamined([]string{c.Attachment})
		})
		var err error
		if l := n.Summary.Links; l.NotChecked > 0 && n.MaxContainers == 0 {
			err = notChecked("the ends in " + report.Plural(l.NotChecked, "container") + " were not compared: masq-cni inspect drift shows why; for missing rights, " + onTheNode)
		}
		if len(changes) == 0 {
			return nil, err
		}
		return []Finding{k.finding(report.LinksStateOf(0, 0, changes).Problem())}, err
	},
}
