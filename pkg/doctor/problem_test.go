package doctor

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/report"
)

// TestEachProblemHasACheck: each kind of problem is a check, except that a part of the node
// could not be queried.
func TestEachProblemHasACheck(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../report/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "Kind") {
			return true
		}
		kinds++
		kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		has := slices.ContainsFunc(stateChecks, func(c Check) bool { return c.ID == kind && c.NeedsSummary && c.Cost == Cheap })
		if has == (kind == string(report.KindQueryFailed)) {
			t.Errorf("%s has a check: %t", kind, has)
		}
		return true
	})
	if kinds != len(stateChecks)+1 {
		t.Errorf("%d kinds, %d checks", kinds, len(stateChecks))
	}
}

// TestProblems: a problem becomes a finding with its evidence, and the finding is the same
// problem for inspect. A part that could not be queried is not checked. Problems of other
// attachments are left out.
func TestProblems(t *testing.T) {
	of := func(attachments ...string) report.Problem {
		return report.NewProblem(report.SeverityWarning, report.KindNotReady, "shop/web", "is pending", report.Cause{
			Evidence: []report.Evidence{{Source: "record of " + attachments[0], Value: "ready: false"}}, Attachments: attachments,
			Remedy: report.Remedy{Text: "start masqd", Commands: []string{"systemctl start masqd", "masq-cni inspect"}},
		})
	}
	links := report.LinksStateOf(3, 0, []report.Change{
		{Kind: "mtu", Name: "veth1", Found: "1400 instead of 1500", Attachment: "n/a/eth0", Pod: "shop/web"},
		{Kind: "state", Name: "veth2", Found: "down instead of up", Attachment: "n/b/eth0", Pod: "shop/db"},
		{Kind: "setting", Name: "net.ipv4.conf.eth0.forwarding", Found: "0 instead of 1"},
	})
	n := &Node{Options: Options{Summary: &report.Node{Links: links, Problems: report.Problems{
		links.Problem(),
		report.QueryFailed(report.PartTable, errors.New("no permission")),
		of("n/a/eth0"), of("n/b/eth0", "n/c/eth0"),
	}}}, facts: map[string]any{}}
	r := Run(t.Context(), n, stateChecks)
	if len(r.Findings) != 3 || r.Findings[0].Check != "link-drift" || len(r.Findings[0].Evidence) != 3 || r.Findings[2].Check != "attachment-pending" {
		t.Fatalf("%+v", r.Findings)
	}
	for i, p := range []int{0, 2, 3} {
		got, want := r.Findings[i].Problem(), n.Summary.Problems[p]
		if got.Advice() != want.Advice() || got.Kind != want.Kind || got.Severity != want.Severity || len(got.Cause.Evidence) != len(want.Cause.Evidence) {
			t.Errorf("%+v is not %+v", got, want)
		}
	}
	if a := r.Findings[1].Problem().Advice(); a != "shop/web is pending; start masqd: systemctl start masqd; masq-cni inspect" {
		t.Errorf("%q", a)
	}
	var notChecked []string
	for _, c := range r.NotChecked {
		notChecked = append(notChecked, c.Check)
		if c.Reason != "nftables cannot be queried: no permission" {
			t.Errorf("%+v", c)
		}
	}
	if want := []string{"state-missing", "table-owned", "table-missing", "drift", "packets-spoofed"}; !slices.Equal(notChecked, want) {
		t.Errorf("not checked: %v, want %v", notChecked, want)
	}

	n.Only = []string{"n/c/eth0"}
	r = Run(t.Context(), n, stateChecks)
	if len(r.Findings) != 2 || r.Findings[0].Message != "differ from what ADD made in 1 place, the first: setting net.ipv4.conf.eth0.forwarding: 0 instead of 1" {
		t.Errorf("of one attachment: %+v", r.Findings)
	}
	n.Summary = nil
	if r = Run(t.Context(), n, stateChecks); len(r.Checks) != 0 || len(r.NotChecked) != 0 || len(r.Findings) != 0 {
		t.Errorf("without a summary: %+v", r)
	}
}

// TestDamagedRecord: the finding about a record that masqd rebuilt does not say that it cannot be
// read.
func TestDamagedRecord(t *testing.T) {
	n := &Node{Options: Options{Summary: &report.Node{Problems: report.Problems{
		report.NewProblem(report.SeverityError, report.KindRecordUnread, "record a.json", "cannot be read", report.Cause{}),
		report.NewProblem(report.SeverityWarning, report.KindRecordUnread, "record b.json", "was damaged, and was rebuilt", report.Cause{}),
	}}}, facts: map[string]any{}}
	r := Run(t.Context(), n, stateChecks[:1])
	if len(r.Findings) != 2 || !strings.Contains(r.Findings[0].Why, "cannot restore") || strings.Contains(r.Findings[1].Why, "cannot restore") {
		t.Errorf("%+v", r.Findings)
	}
}

// TestProbeChecksNeedTarget: without a target, Run omits the checks of a probe.
func TestProbeChecksNeedTarget(t *testing.T) {
	n := &Node{facts: map[string]any{}}
	if r := Run(t.Context(), n, probeChecks); len(r.Checks) != 0 || len(r.NotChecked) != 0 {
		t.Errorf("%+v", r)
	}
}
