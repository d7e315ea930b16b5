package doctor

import (
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// Report is what the checks found.
type Report struct {
	// Verdict is a line with the first finding, or "healthy".
	Verdict string      `json:"verdict"`
	Healthy bool        `json:"healthy"`
	Time    report.Time `json:"time"`
	// Pod is the pod or container that was examined, empty for the node.
	Pod      string    `json:"pod,omitempty"`
	Target   *Target   `json:"target,omitempty"`
	Findings []Finding `json:"findings"`
	// NotChecked are checks that could not be made.
	NotChecked []NotChecked `json:"notChecked"`
	// Checks are the IDs of all checks that were made.
	Checks []string `json:"checks"`
	Path   *Path    `json:"path,omitempty"`
	// Fixes are the fixes that were applied. Findings are those before the fixes, and Remaining
	// are the findings after them.
	Fixes     []AppliedFix `json:"fixes,omitempty"`
	Remaining []Finding    `json:"remaining,omitempty"`
}

// AppliedFix is the result of a fix.
type AppliedFix struct {
	Check  string   `json:"check"`
	Object string   `json:"object"`
	Does   string   `json:"does"`
	Undo   []string `json:"undo"`
	Error  string   `json:"error,omitempty"`
}

// Fixable returns the findings that have a fix. A fix that several findings share appears once.
func (r *Report) Fixable() (out []Finding) {
	seen := map[string]bool{}
	for _, f := range r.Findings {
		if x := f.Remedy.Fix; x != nil && x.Apply != nil && !seen[x.Does] {
			seen[x.Does] = true
			out = append(out, f)
		}
	}
	return out
}

// NotChecked is a check that could not be made.
type NotChecked struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
}

// verdict returns the first line of the report.
func (r *Report) verdict() string {
	switch n := len(r.Findings); {
	case n == 0 && len(r.NotChecked) == 0:
		return "healthy: " + report.Plural(len(r.Checks), "check") + ", no finding"
	case n == 0:
		return fmt.Sprintf("no finding in %s; not checked: %d", report.Plural(len(r.Checks), "check"), len(r.NotChecked))
	case n == 1:
		return "1 finding: " + r.Findings[0].String()
	default:
		return fmt.Sprintf("%d findings, the first: %s", n, r.Findings[0])
	}
}
