package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumented checks that docs/metrics.md has each metric that is exported, with its
// labels, and no other.
func TestDocumented(t *testing.T) {
	families, err := New(exampleSources()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var exported []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "masq_") {
			continue // of Go and of the process
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		exported = append(exported, f.GetName()+" "+strings.Join(labels, ","))
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`masq_.*?"+`) \|`).FindAllStringSubmatch(string(page), -1) {
		for _, m := range regexp.MustCompile("`(masq_\\w+)(?:\\{(.*?)\\})?`").FindAllStringSubmatch(row[1], -1) {
			labels := strings.Split(m[2], ",")
			slices.Sort(labels)
			documented = append(documented, m[1]+" "+strings.Join(labels, ","))
		}
	}
	for _, m := range exported {
		if !slices.Contains(documented, m) {
			t.Errorf("docs/metrics.md does not list %s", m)
		}
	}
	for _, m := range documented {
		if !slices.Contains(exported, m) {
			t.Errorf("docs/metrics.md lists %s, which is not exported", m)
		}
	}
}
