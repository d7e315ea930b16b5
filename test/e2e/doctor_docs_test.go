package e2e

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestDocumentedChecks checks that docs/doctor.md has a row for each check. The IDs are
// different words, and every part of a check is filled in.
func TestDocumentedChecks(t *testing.T) {
	const page = "docs/doctor.md"
	var b strings.Builder
	b.WriteString("| check | what is wrong | severity | run by | reads | applies | remedy |\n|---|---|---|---|---|---|---|\n")
	seen := map[string]bool{}
	for _, c := range doctor.All() {
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(c.ID) || seen[c.ID] {
			t.Errorf("check %q: the name is not a word, or is used twice", c.ID)
		}
		seen[c.ID] = true
		if c.Title == "" || c.Reads == "" || c.Remedy == "" || c.Run == nil || c.Severity != report.SeverityError && c.Severity != report.SeverityWarning {
			t.Errorf("check %s: a part is missing: %+v", c.ID, c)
		}
		applies := c.Applies
		if applies == "" {
			applies = "always"
		}
		by := map[doctor.Cost]string{doctor.Cheap: "masqd", doctor.Full: "doctor", doctor.Probe: "--to"}[c.Cost]
		if c.NeedsSummary {
			by = "inspect"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", c.ID, c.Title, c.Severity, by, c.Reads, applies, c.Remedy)
	}
	text := textOf(page)
	intro, _, _ := strings.Cut(text, "\n| check | what is wrong |")
	intro, _, _ = strings.Cut(intro, "\n---\n")
	_, footer, _ := strings.Cut(text, "\n---\n") // TestBook writes it
	generated(t, page, strings.TrimRight(intro, "\n")+"\n\n"+b.String()+"\n---\n"+footer)
}

// TestDocumentedReport checks that docs/doctor.md names each field of the report.
func TestDocumentedReport(t *testing.T) {
	text := textOf("docs/doctor.md")
	all := []any{
		doctor.Report{},
		doctor.Target{},
		doctor.Finding{},
		doctor.Evidence{},
		doctor.Remedy{},
		doctor.Fix{},
		doctor.NotChecked{},
		doctor.AppliedFix{},
		doctor.Path{},
		doctor.Station{},
	}
	for _, x := range all {
		for f := range reflect.TypeOf(x).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "-" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%T: field %q is not documented", x, name)
			}
		}
	}
}

// The conditions that docs/doctor.md assumes, and the proofs of its commands.
func init() {
	before["docs/doctor.md"] = func(m *docNode) {
		m.inspected()
		assert.Must(m.Server.ServeTLS(at(m.V4.Server, 8443)))(m.t)
		m.must("install -D -m 644 -t /etc/systemd/system deploy/systemd/masqd.service")
		if err := unit("start").prove(m, docCommand{}); err != nil {
			m.t.Fatal(err)
		}
	}
	maps.Copy(proofs, map[string]proof{
		"masq-cni doctor":                                                      runs{says: "healthy"},
		"masq-cni doctor pod shop/web":                                         runs{says: "healthy"},
		"masq-cni doctor pod shop/web --to 198.51.100.2:8443":                  runs{says: "healthy"},
		"masq-cni doctor pod shop/web --to 198.51.100.2:8443 --html page.html": runs{then: "grep '<svg' page.html"},
		"masq-cni doctor --fix":                                                runs{},
	})
}
