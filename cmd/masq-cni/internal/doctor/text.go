package doctor

import (
	"io"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// textColumn is the column of the text of a finding, after the names of its parts.
const textColumn = 11

// writeText writes the report as text: the verdict, the findings, the checks that were not
// made, and the path.
func writeText(w io.Writer, s report.Style, r *doctor.Report) error {
	var b strings.Builder
	color := report.Red
	if r.Healthy {
		color = report.Green
	}
	b.WriteString(s.Paint(color, report.CleanText(r.Verdict)) + "\n")
	for i := range r.Findings {
		b.WriteString("\n")
		writeFinding(&b, s, &r.Findings[i])
	}
	for i, c := range byReason(r.NotChecked) {
		if i == 0 {
			b.WriteString("\n")
		}
		report.Wrap(&b, textColumn, "not checked", len("not checked"), c.Check+": "+c.Reason)
	}
	if r.Path != nil && len(r.Path.Stations) > 0 {
		b.WriteString("\n")
	}
	if err := writePath(&b, s, r.Path); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// byReason joins checks that lack the same part of the node.
func byReason(all []doctor.NotChecked) (out []doctor.NotChecked) {
	for _, c := range all {
		i := slices.IndexFunc(out, func(x doctor.NotChecked) bool { return x.Reason == c.Reason })
		if i < 0 {
			out = append(out, c)
			continue
		}
		out[i].Check += ", " + c.Check
	}
	return out
}

// writeFinding writes a finding. Commands are not wrapped, so that they can be pasted.
func writeFinding(b *strings.Builder, s report.Style, f *doctor.Finding) {
	label := string(f.Severity)
	if f.Severity != report.SeverityWarning {
		label = s.Paint(report.Red, label)
	}
	report.Wrap(b, textColumn, label, len(f.Severity), f.String())
	part(b, "check", f.Check)
	for i, e := range f.Evidence {
		name := "evidence"
		if i > 0 {
			name = ""
		}
		part(b, name, e.String())
	}
	part(b, "why", f.Why)
	name := "remedy"
	if f.Remedy.Text != "" {
		part(b, name, f.Remedy.Text)
		name = ""
	}
	for _, c := range f.Remedy.Commands {
		b.WriteString("  " + name + strings.Repeat(" ", textColumn-2-len(name)) + report.CleanText(c) + "\n")
		name = ""
	}
	if f.Remedy.Fix != nil {
		part(b, "fix", "with --fix, masq-cni "+f.Remedy.Fix.Does)
	}
}

func part(b *strings.Builder, name, text string) {
	if text != "" {
		report.Wrap(b, textColumn, "  "+name, 2+len(name), text)
	}
}
