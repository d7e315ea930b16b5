package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// ReportRefusals adds problems for pods whose annotations ADD has refused, and for pods that
// opted out of translation although the node's policy no longer allows that. active has the
// attachments of the records with their active policies.
func (n *Node) ReportRefusals(refusals []store.Refusal, records []store.Record, active []masq.Attachment) {
	for _, x := range refusals {
		pod := CleanText(OwnerOf(masq.Attachment{Key: x.Key, Pod: x.Pod}).Pod())
		n.Report(NewProblem(
			SeverityWarning, KindAnnotation, pod,
			fmt.Sprintf("has annotations that ADD refused %s ago in network %s: %s", span(n.Time.Sub(x.Time)), CleanText(x.Network), oneLine(strings.Join(x.Faults, "\n"))),
			Cause{
				Evidence:    []Evidence{{"ADD of " + x.Identity() + " at " + x.Time.UTC().Format(time.RFC3339), oneLine(strings.Join(x.Faults, "\n"))}},
				Attachments: []string{x.Identity()},
				Remedy:      Remedy{Text: "correct the annotation of the pod, or allow it: allowAnnotations of the network or the node's policy"},
			},
		))
	}
	for i, r := range records {
		if i >= len(active) || r.Policy == nil || !r.Policy.EgressDirect || active[i].Policy == nil || active[i].Policy.EgressDirect {
			continue
		}
		n.Report(NewProblem(
			SeverityWarning, KindAnnotation, CleanText(OwnerOf(r.Attachment).Pod()),
			fmt.Sprintf("has the annotation %s: \"direct\", which has no effect in network %s: the node's policy does not allow it; new flows of the pod are translated", masq.EgressAnnotation, CleanText(r.Network)),
			Cause{
				Evidence:    []Evidence{{recordOf(r), masq.EgressAnnotation + ": direct"}, {"active policy", active[i].Policy.ID() + ", translates"}},
				Attachments: []string{r.Identity()},
				Remedy:      Remedy{Text: "remove the annotation from the pod, or list it in allowAnnotations of the node's policy"},
			},
		))
	}
}
