package report

import (
	"fmt"
	"strings"
	"testing"
)

// TestProblemsOrder: problems are ordered by severity, then by time of Add.
func TestProblemsOrder(t *testing.T) {
	var all Problems
	for _, p := range []Problem{
		{Severity: SeverityWarning, Object: "a"},
		{Severity: SeverityError, Object: "b"},
		{Severity: SeverityUnknown, Object: "c"},
		{Severity: SeverityError, Object: "d"},
		{Severity: SeverityWarning, Object: "e"},
	} {
		all.Add(p)
	}
	got := ""
	for _, p := range all {
		got += p.Object
	}
	if got != "bdcae" {
		t.Errorf("problems are in the order %q", got)
	}
}

func TestVerdict(t *testing.T) {
	warning := Problem{Severity: SeverityWarning, Object: "w", Message: "may fail"}
	unknown := Problem{Severity: SeverityUnknown, Object: "u", Message: "cannot be queried"}
	fault := Problem{Severity: SeverityError, Object: "e", Message: "fails"}
	for _, x := range []struct {
		all     []Problem
		healthy bool
		verdict string
	}{
		{nil, true, "healthy"},
		{[]Problem{warning}, true, "healthy, with 1 warning: w may fail"},
		{[]Problem{warning, warning}, true, "healthy, with 2 warnings, the first: w may fail"},
		{[]Problem{warning, unknown}, false, "2 problems, the worst: u cannot be queried"},
		{[]Problem{fault}, false, "1 problem: e fails"},
		{[]Problem{warning, unknown, fault}, false, "3 problems, the worst: e fails"},
	} {
		var all Problems
		for _, p := range x.all {
			all.Add(p)
		}
		if all.Healthy() != x.healthy || all.Verdict() != x.verdict {
			t.Errorf("%v: %t, %q", x.all, all.Healthy(), all.Verdict())
		}
	}
}

// TestWrap: text is wrapped between words and aligned; a word longer than the line is not
// split.
func TestWrap(t *testing.T) {
	var b strings.Builder
	long := strings.Repeat("x", 90)
	Wrap(&b, problemColumn, "error", 5, strings.Repeat("word ", 20)+long+" end")
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines[:len(lines)-1] {
		if i > 0 && !strings.HasPrefix(l, strings.Repeat(" ", 10)) || len(l) > columns && !strings.Contains(l, long) {
			t.Errorf("line %q", l)
		}
	}
	if got := strings.Join(strings.Fields(b.String()), " "); got != "error "+strings.TrimSpace(strings.Repeat("word ", 20))+" "+long+" end" {
		t.Errorf("text %q", got)
	}
}

// TestProblemsOfOneKind: only the first problems of a kind are written, and the number of the
// others.
func TestProblemsOfOneKind(t *testing.T) {
	for n, want := range map[int]string{5: "", 6: "", 7: "2 more of kind attachment-pending"} {
		var all Problems
		for i := range n {
			all.Add(Problem{Severity: SeverityWarning, Kind: KindNotReady, Object: fmt.Sprintf("pod-%d", i), Message: "is pending", Remedy: "wait"})
		}
		all.Add(Problem{Severity: SeverityWarning, Kind: KindClaimedTwice, Object: "other", Message: "is shared"})
		var b strings.Builder
		if err := all.write(&b, Style{}); err != nil {
			t.Fatal(err)
		}
		shown := n
		if want != "" {
			shown = maxOfKind
		}
		if got := b.String(); strings.Count(got, "is pending\n  remedy") != shown || !strings.Contains(got, want) || !strings.Contains(got, "other is shared") || strings.Contains(got, " more ") != (want != "") {
			t.Errorf("%d:\n%s", n, got)
		}
	}
}
