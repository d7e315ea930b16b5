package doctor

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// page is the template of the page, with its style sheet. html/template escapes all values,
// each for its place.
//
//go:embed page.html
var page string

//go:embed page.css
var styleSheet string

// writePage writes the page that --html asks for.
func (f *flags) writePage(stdout io.Writer, r *doctor.Report) error {
	switch f.html {
	case "":
		return nil
	case "-":
		return writeHTML(stdout, r, f.options.Version)
	}
	file, err := os.Create(f.html)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	if err := errors.Join(writeHTML(file, r, f.options.Version), file.Close()); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

// pageData are the values of the page. Texts from outside are escaped for a terminal too, so
// that text copied from the page has no control characters.
type pageData struct {
	Style      template.CSS
	Verdict    string
	State      string // healthy, warning or error: a class of the style sheet
	About      [][2]string
	Findings   []findingData
	NotChecked []doctor.NotChecked
	Made       string // "9 checks"
	Checks     []string
	Fixes      []doctor.AppliedFix
	Remaining  []findingData
	Points     []point
	Pictures   []picture
}

type findingData struct {
	doctor.Finding
	Title string
}

// writeHTML writes the report as a page that needs no other file and no script.
func writeHTML(w io.Writer, r *doctor.Report, version string) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	d := pageData{
		Style:   template.CSS(styleSheet), //nolint:gosec // the style sheet is a file of this package
		Verdict: report.CleanText(r.Verdict), State: stateOf(r),
		About:     [][2]string{{"time", r.Time.UTC().Format("2006-01-02 15:04:05 MST")}},
		Findings:  cleanFindings(r.Findings),
		Made:      report.Plural(len(r.Checks), "check"),
		Checks:    r.Checks,
		Remaining: cleanFindings(r.Remaining),
	}
	add := func(name, value string) {
		if value != "" {
			d.About = append(d.About, [2]string{name, report.CleanText(value)})
		}
	}
	add("container", r.Pod)
	if r.Target != nil {
		add("destination", r.Target.String())
	}
	add("masq-cni", version)
	for _, c := range byReason(r.NotChecked) {
		d.NotChecked = append(d.NotChecked, doctor.NotChecked{Check: c.Check, Reason: report.CleanText(c.Reason)})
	}
	for _, f := range r.Fixes {
		f.Object, f.Does, f.Undo, f.Error = report.CleanText(f.Object), report.CleanText(f.Does), cleanAll(f.Undo), report.CleanText(f.Error)
		d.Fixes = append(d.Fixes, f)
	}
	if r.Path != nil && len(r.Path.Stations) > 0 {
		d.Points = points(r.Path)
		d.Pictures = []picture{narrowLayout.draw(d.Points), wideLayout.draw(d.Points)}
	}
	return t.Execute(w, d)
}

// stateOf returns the class of the verdict.
func stateOf(r *doctor.Report) string {
	switch {
	case len(r.Findings) > 0:
		return string(r.Findings[0].Severity)
	case len(r.NotChecked) > 0:
		return string(report.SeverityWarning)
	}
	return "healthy"
}

func cleanFindings(all []doctor.Finding) (out []findingData) {
	for _, f := range all {
		title := report.CleanText(f.String())
		evidence := make([]doctor.Evidence, len(f.Evidence))
		for i, e := range f.Evidence {
			evidence[i] = doctor.Evidence{Source: report.CleanText(e.Source), Value: report.CleanText(e.Value)}
		}
		f.Evidence, f.Why, f.Remedy.Text, f.Remedy.Commands = evidence, report.CleanText(f.Why), report.CleanText(f.Remedy.Text), cleanAll(f.Remedy.Commands)
		if x := f.Remedy.Fix; x != nil {
			f.Remedy.Fix = &doctor.Fix{Does: report.CleanText(x.Does), Undo: cleanAll(x.Undo)}
		}
		out = append(out, findingData{f, title})
	}
	return out
}

func cleanAll(texts []string) (out []string) {
	for _, s := range texts {
		out = append(out, report.CleanText(s))
	}
	return out
}

// describe returns the path as sentences, for readers that do not see the picture.
func describe(all []point) string {
	var b strings.Builder
	for _, x := range all {
		b.WriteString(x.Kind + " " + x.Name)
		for _, f := range [][2]string{{"MTU ", x.MTU}, {"MSS ", x.MSS}, {"round trip ", x.RTT}, {"packets ", x.Packets}} {
			if f[1] != "" {
				b.WriteString(", " + f[0] + f[1])
			}
		}
		for _, n := range x.notes() {
			b.WriteString(", " + n.text)
		}
		if x.Unreached {
			b.WriteString(", not reached")
		}
		b.WriteString(". ")
	}
	return strings.TrimSpace(b.String())
}
