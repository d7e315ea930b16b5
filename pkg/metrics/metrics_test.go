package metrics

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func facts() Facts {
	return Facts{
		Values: func() Values {
			return Values{
				Looks: map[string]int{"rules": 3}, Repairs: map[string]int{"element": 2},
				Attachments: 7, Policies: 1, RepairSeconds: 0.5, LastRepair: 5 * time.Millisecond,
				LastLook: time.Unix(1, 0), ConfigRead: time.Unix(1, 0), ConfigValid: true,
			}
		},
		Generation: func() (uint32, error) { return 42, nil },
		Version:    "1", Commit: "abc",
	}
}

func TestMetrics(t *testing.T) {
	r := New(facts())
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	err = testutil.GatherAndCompare(r, strings.NewReader(`
# HELP masq_attachments Attachments with a policy.
# TYPE masq_attachments gauge
masq_attachments 7
# HELP masq_repairs_total Differences that were mended, by the kind of thing.
# TYPE masq_repairs_total counter
masq_repairs_total{kind="element"} 2
# HELP masq_nftables_generation Number of the kernel's present ruleset.
# TYPE masq_nftables_generation gauge
masq_nftables_generation 42
`), "masq_attachments", "masq_repairs_total", "masq_nftables_generation")
	if err != nil {
		t.Error(err)
	}
}

func TestKernelThatCannotBeAsked(t *testing.T) {
	f := facts()
	f.Generation = func() (uint32, error) { return 0, errors.New("no") }
	r := New(f)
	if n, err := testutil.GatherAndCount(r, "masq_nftables_generation"); err != nil || n != 0 {
		t.Errorf("%d values, %v", n, err)
	}
	if n, err := testutil.GatherAndCount(r, "masq_generation_read_failures"); err != nil || n != 1 {
		t.Errorf("%d values, %v", n, err)
	}
}
