package metrics

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// names returns n label values.
func names(n int) map[string]int {
	out := map[string]int{}
	for i := range n {
		out[fmt.Sprint("name", i)] = i
	}
	return out
}

// sourcesWith has n values for every label whose values have no fixed number.
func sourcesWith(attachments, n int) Sources {
	s := exampleSources()
	sync := s.Sync()
	sync.Requests, sync.Repairs, sync.Errors = names(n), names(n), names(n)
	s.Features = map[string]bool{}
	for name := range names(n) {
		s.Features[name] = true
	}
	f, _ := s.Flows()
	f.Sample.Helpers, f.Sample.States, f.Sample.Attachments, f.Sample.Ports.Groups = nil, nil, nil, nil
	for i := range n {
		name := fmt.Sprint("name", i)
		address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		sync.MissingEgress = append(sync.MissingEgress, ruleset.MissingEgress{Policy: "policy", Address: address})
		f.Sample.Helpers = append(f.Sample.Helpers, report.HelperCount{Helper: name, Flows: i})
		f.Sample.States = append(f.Sample.States, report.StateCount{Protocol: name, State: "ESTABLISHED", Flows: 1})
		f.Sample.Attachments = append(f.Sample.Attachments, flowstats.AttachmentFlows{Network: "net", Namespace: "default", Pod: "pod", Container: name, Flows: 3, Translated: 2, TranslatedBytes: 1000})
		left := report.Seconds(time.Minute)
		f.Sample.Ports.Groups = append(f.Sample.Ports.Groups, report.PortGroup{Protocol: "tcp", Egress: address, Destination: address, DestinationPort: 443, Share: 0.9, ExhaustedIn: &left})
	}
	s.Sync = func() reconcile.Stats { return sync }
	s.Flows = func() (flowstats.Flows, error) { return f, nil }
	s.MaxAttachments = attachments
	return s
}

// countSeries returns the number of lines of a scrape.
func countSeries(t *testing.T, r prometheus.Gatherer) (n int) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case m.GetHistogram() != nil:
				n += len(m.GetHistogram().GetBucket()) + 3 // +Inf, sum, count
			case m.GetSummary() != nil:
				n += len(m.GetSummary().GetQuantile()) + 2
			default:
				n++
			}
		}
	}
	return n
}

// TestMaxSeries checks that a scrape has at most MaxSeries series, however many values each
// label has.
func TestMaxSeries(t *testing.T) {
	for _, attachments := range []int{0, 1, 50} {
		n := countSeries(t, New(sourcesWith(attachments, 1000)))
		if most := MaxSeries + SeriesPerAttachment*attachments; n > most {
			t.Errorf("%d series with %d attachments, want at most %d", n, attachments, most)
		}
		if more := countSeries(t, New(sourcesWith(attachments, 2000))); more != n {
			t.Errorf("%d series with 1,000 values of each label, %d with 2,000", n, more)
		}
		t.Logf("%d series with %d attachments", n, attachments)
	}
}

// TestSumOfOtherRows checks that the rows beyond the limit are added up.
func TestSumOfOtherRows(t *testing.T) {
	got := sums[int]{"a": 5, "b": 4, "c": 3, "d": 2}.largest(3)
	if len(got) != 3 || got["a"] != 5 || got["b"] != 4 || got["other"] != 5 {
		t.Errorf("largest rows: %v", got)
	}
	if got := (sums[int]{"a": 5, "b": 4}).largest(2); len(got) != 2 || got["b"] != 4 {
		t.Errorf("largest rows: %v", got)
	}
}

// TestInvalidLabels checks that a scrape succeeds with names that are not UTF-8, that are
// too long, or that are equal after they were shortened.
func TestInvalidLabels(t *testing.T) {
	s := exampleSources()
	f, _ := s.Flows()
	long := strings.Repeat("\u00e9", 300)
	f.Sample.Attachments = nil
	for _, a := range [][3]string{
		{"\xff", "a\"\n\\", "c1"},
		{"\xfe", "a\"\n\\", "c1"},
		{"ns", long + "1", "c2"},
		{"ns", long + "2", "c2"},
		{"ns", "pod", "c3"},
		{"ns", "pod", "c3"},
	} {
		f.Sample.Attachments = append(f.Sample.Attachments, flowstats.AttachmentFlows{Network: "net", Namespace: a[0], Pod: a[1], Container: a[2], Flows: 1})
	}
	f.Sample.Helpers = []report.HelperCount{{Helper: "\xff", Flows: 1}, {Helper: "\xfe", Flows: 2}}
	s.Flows = func() (flowstats.Flows, error) { return f, nil }
	s.MaxAttachments = 10
	families, err := New(s).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "masq_attachment_flows" {
			continue
		}
		if n := len(family.GetMetric()); n != 3 {
			t.Errorf("%d series of attachments, want 3", n)
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if v := l.GetValue(); len(v) > maxLabel || v != strings.ToValidUTF8(v, "") {
					t.Errorf("invalid label value %q", v)
				}
			}
		}
	}
	for name, want := range map[string]string{
		"": "", "web": "web", strings.Repeat("x", 300): strings.Repeat("x", maxLabel), long: strings.Repeat("\u00e9", maxLabel/2),
	} {
		if got := label(name); got != want {
			t.Errorf("label(%q) is %q", name, got)
		}
	}
}
