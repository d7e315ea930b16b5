package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// names are more label values than any limit has.
func names(n int) map[string]int {
	out := map[string]int{}
	for i := range n {
		out[fmt.Sprint("name", i)] = i
	}
	return out
}

// many are facts with more of everything than there are series for.
func many(attachments, n int) Facts {
	f := facts()
	v := f.Values()
	v.Looks, v.Repairs, v.Errors, v.Offered = names(n), names(n), names(n), map[string]bool{}
	for name := range names(n) {
		v.Offered[name] = true
	}
	v.Repaired.Within = map[time.Duration]int{}
	for i := range 20 {
		v.Repaired.Within[time.Duration(i)] = i
	}
	flows, _ := f.Flows()
	flows.Helpers, flows.Ports.Warnings = names(n), map[string]int{"notice": 1, "warning": 1, "critical": 1}
	flows.States, flows.Attachments, flows.Ports.Fullest = nil, nil, nil
	for i := range n {
		name := fmt.Sprint(i)
		v.MissingEgress = append(v.MissingEgress, EgressAddress{"policy", name})
		flows.States = append(flows.States, FlowState{name, "ESTABLISHED", 1})
		flows.Ports.Fullest = append(flows.Ports.Fullest, PortUse{"tcp", "192.0.2.1", name, "443", "0", 0.9, time.Minute})
		flows.Attachments = append(flows.Attachments, AttachmentFlows{"net", "default", "pod", name, 3, 2, 1000})
	}
	f.Values = func() Values { return v }
	f.Flows = func() (Flows, error) { return flows, nil }
	f.Dropped = func() (map[string]uint64, error) {
		out := map[string]uint64{}
		for k, i := range names(n) {
			out[k] = uint64(i)
		}
		return out, nil
	}
	f.Attachments = attachments
	return f
}

// series are the lines of the text format that a registry gives.
func series(t *testing.T, r prometheus.Gatherer) (n int) {
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

// TestMaxSeries: with more of everything than there are series for, a scrape has at most as
// many as documented, and more of it does not add any.
func TestMaxSeries(t *testing.T) {
	for _, attachments := range []int{0, 1, 50} {
		n := series(t, New(many(attachments, 1000)))
		if most := MaxSeries + SeriesPerAttachment*attachments; n > most {
			t.Errorf("%d series with %d attachments, more than %d", n, attachments, most)
		}
		if more := series(t, New(many(attachments, 2000))); more != n {
			t.Errorf("%d series, and %d with twice as many names", n, more)
		}
		t.Logf("%d series with %d attachments", n, attachments)
	}
}

// TestSumsOfOthers: the rows beyond the limit are counted together.
func TestSumsOfOthers(t *testing.T) {
	got := sums[int]{"a": 5, "b": 4, "c": 3, "d": 2}.rows(3)
	if len(got) != 3 || got["a"] != 5 || got["b"] != 4 || got["other"] != 5 {
		t.Errorf("got %v", got)
	}
	if got := (sums[int]{"a": 5, "b": 4}).rows(2); len(got) != 2 || got["b"] != 4 {
		t.Errorf("got %v", got)
	}
}

// TestLabelsFromOutside: names that are not UTF-8, too long, or the same after that, do not
// spoil the scrape.
func TestLabelsFromOutside(t *testing.T) {
	f := facts()
	flows, _ := f.Flows()
	long := strings.Repeat("\u00e9", 300)
	flows.Attachments = []AttachmentFlows{
		{"net", "\xff", "a\"\n\\", "c1", 1, 1, 1},
		{"net", "\xfe", "a\"\n\\", "c1", 1, 1, 1},
		{"net", "ns", long + "1", "c2", 1, 1, 1},
		{"net", "ns", long + "2", "c2", 1, 1, 1},
		{"net", "ns", "pod", "c3", 1, 1, 1},
		{"net", "ns", "pod", "c3", 1, 1, 1},
	}
	flows.Helpers = map[string]int{"\xff": 1, "\xfe": 2}
	f.Flows = func() (Flows, error) { return flows, nil }
	f.Attachments = 10
	families, err := New(f).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "masq_attachment_flows" {
			continue
		}
		if n := len(family.GetMetric()); n != 3 {
			t.Errorf("%d rows", n)
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if v := l.GetValue(); len(v) > maxLabel || v != strings.ToValidUTF8(v, "") {
					t.Errorf("a label is %q", v)
				}
			}
		}
	}
	for s, want := range map[string]string{
		"": "", "web": "web", strings.Repeat("x", 300): strings.Repeat("x", maxLabel), long: strings.Repeat("\u00e9", maxLabel/2),
	} {
		if got := label(s); got != want {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}
