package doctor

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/doctor"
	"github.com/masq-cni/masq-cni/pkg/report"
)

func sample(apply func(context.Context) error) doctor.Report {
	return doctor.Report{
		Verdict: "1 finding: interface up0 does not forward IPv4",
		Findings: []doctor.Finding{{
			Check: "forwarding-off", Severity: report.SeverityError, Object: "interface up0", Message: "does not forward IPv4",
			Evidence: []doctor.Evidence{{Source: "net.ipv4.conf.up0.forwarding", Value: "0"}, {Source: "pod", Value: "\x1b[31mred"}},
			Why:      "the kernel drops every packet that arrives there for a container: " + strings.Repeat("long ", 20),
			Remedy: doctor.Remedy{
				Text: "turn it on", Commands: []string{"sysctl -w net.ipv4.conf.up0.forwarding=1 # " + strings.Repeat("long ", 20)},
				Fix: &doctor.Fix{Does: "turns forwarding on", Undo: []string{"sysctl -w net.ipv4.conf.up0.forwarding=0"}, Apply: apply},
			},
		}},
		NotChecked: []doctor.NotChecked{{Check: "plugin-missing", Reason: "no directory"}},
	}
}

// TestText: text is wrapped at 80 columns, commands are not, and escape sequences are escaped.
func TestText(t *testing.T) {
	r := sample(nil)
	var b strings.Builder
	if err := writeText(&b, report.Style{}, &r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 finding: interface up0 does not forward IPv4\n\nerror      interface up0 does not forward IPv4\n  check    forwarding-off\n",
		"  evidence net.ipv4.conf.up0.forwarding = 0\n           pod = ",
		"  why      the kernel drops",
		"  remedy   turn it on\n           sysctl -w net.ipv4.conf.up0.forwarding=1 # long",
		"not checked plugin-missing: no directory\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("an escape sequence in %q", b.String())
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 81 && !strings.Contains(line, "sysctl") {
			t.Errorf("more than 80 columns: %q", line)
		}
	}
}

// TestFix: --fix applies a fix after the answer y, and nothing after any other answer.
func TestFix(t *testing.T) {
	for _, x := range []struct {
		answer string
		yes    bool
		want   bool
	}{{"y\n", false, true}, {"YES\n", false, true}, {"\n", false, false}, {"", false, false}, {"no\n", false, false}, {"", true, true}} {
		r := sample(func(context.Context) error { return errors.New("read-only") })
		var b bytes.Buffer
		got, err := askFix(strings.NewReader(x.answer), output.Writer{Writer: &b}, &r, x.yes)
		if got != x.want || err != nil {
			t.Errorf("%+v: %t, %v", x, got, err)
		}
		if asked := strings.Contains(b.String(), "apply? [y/N]"); asked == x.yes {
			t.Errorf("%+v: asked %t", x, asked)
		}
		if !strings.Contains(b.String(), "undo     sysctl -w net.ipv4.conf.up0.forwarding=0") {
			t.Errorf("no way to undo in\n%s", &b)
		}
	}
	failed := sample(func(context.Context) error { return errors.New("read-only") })
	applyFixes(t.Context(), &failed)
	var b strings.Builder
	if err := writeFixes(&b, report.Style{}, &failed); err != nil || !strings.Contains(b.String(), "failed     turns forwarding on: read-only") {
		t.Errorf("%v\n%s", err, &b)
	}
	none := doctor.Report{}
	if got, err := askFix(strings.NewReader("y\n"), output.Writer{Writer: &bytes.Buffer{}}, &none, true); got || err != nil {
		t.Errorf("without a fix: %t, %v", got, err)
	}
}
