package output

import "github.com/masq-cni/masq-cni/pkg/report"

// FlowWriter writes flows one at a time; End completes the list.
type FlowWriter interface {
	Add(report.Flow) error
	End() error
}

// flowList writes flows for a program.
type flowList struct{ *report.List }

func (l flowList) Add(f report.Flow) error { return l.List.Add(f) }

// Flows begins a list of flows. JSON and YAML ignore the columns.
func (w Writer) Flows(columns []report.Column[report.Flow]) FlowWriter {
	if w.Format != "" {
		return flowList{report.NewList(w, w.Format)}
	}
	return report.NewListing(w, w.Style, columns)
}
