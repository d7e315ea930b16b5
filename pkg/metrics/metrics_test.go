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
				MissingEgress: []EgressAddress{{"node-1a2b3c4d", "192.0.2.7"}},
				NATLog:        &NATLog{Records: 5, Lost: 1, Bytes: 100, Files: 2},
				Export:        &Export{Sent: 4, Lost: 2},
				Attachments:   7, Policies: 1, Errors: map[string]int{"rules": 1}, Offered: map[string]bool{"flowtable": false},
				Ended: 4, Looking: time.Second, Repaired: Times{2, 30 * time.Millisecond, map[time.Duration]int{20 * time.Millisecond: 1}},
				LastLook: time.Unix(1, 0), ConfigRead: time.Unix(1, 0), ConfigValid: true,
			}
		},
		Flows: func() (Flows, error) {
			return Flows{
				Entries: 9, Limit: 100, InsertFailed: 3, Sampled: time.Unix(2, 0), Took: time.Second,
				States: []FlowState{{"tcp", "ESTABLISHED", 5}}, Translated: 4, Helpers: map[string]int{"ftp": 1}, Expectations: 2,
				Ports: Ports{
					Fullest:  []PortUse{{"tcp", "192.0.2.1", "198.51.100.2", "443", "0", 0.9, time.Minute}, {"tcp", "192.0.2.1", "198.51.100.3", "443", "0", 0.5, -1}},
					Unlisted: 0.1, Warnings: map[string]int{"warning": 1}, Failed: 2,
				},
				Attachments: []AttachmentFlows{{"net", "default", "web", "c0ffee", 3, 2, 1000}},
			}, nil
		},
		Dropped:     func() (map[string]uint64, error) { return map[string]uint64{"spoofed": 6}, nil },
		Generation:  func() (uint32, error) { return 42, nil },
		Attachments: 1,
		Version:     "1", Commit: "abc",
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
# HELP masq_dropped_packets_total Packets that the rules have dropped, by reason.
# TYPE masq_dropped_packets_total counter
masq_dropped_packets_total{reason="spoofed"} 6
# HELP masq_egress_address_missing 1 for each egress address that a policy names and the node does not have.
# TYPE masq_egress_address_missing gauge
masq_egress_address_missing{address="192.0.2.7",policy="node-1a2b3c4d"} 1
# HELP masq_repairs_total Differences that were mended, by the kind of thing.
# TYPE masq_repairs_total counter
masq_repairs_total{kind="element"} 2
# HELP masq_kernel_feature_available 1 if the kernel has the feature, 0 if it lacks it.
# TYPE masq_kernel_feature_available gauge
masq_kernel_feature_available{feature="flowtable"} 0
# HELP masq_sync_duration_seconds Time that looks took.
# TYPE masq_sync_duration_seconds summary
masq_sync_duration_seconds_sum 1
masq_sync_duration_seconds_count 4
# HELP masq_repair_duration_seconds Time that repairs took, from the beginning of the look to its end.
# TYPE masq_repair_duration_seconds histogram
masq_repair_duration_seconds_bucket{le="0.02"} 1
masq_repair_duration_seconds_bucket{le="+Inf"} 2
masq_repair_duration_seconds_sum 0.03
masq_repair_duration_seconds_count 2
# HELP masq_conntrack_insert_failed_total Flows that were not made, since another had their addresses and ports: a translation without a free port among them.
# TYPE masq_conntrack_insert_failed_total counter
masq_conntrack_insert_failed_total 3
# HELP masq_flows Flows by protocol and state, at the last sample.
# TYPE masq_flows gauge
masq_flows{protocol="tcp",state="ESTABLISHED"} 5
# HELP masq_attachment_translated_bytes Bytes of an attachment's translated flows that are there, both ways, where the kernel counts.
# TYPE masq_attachment_translated_bytes gauge
masq_attachment_translated_bytes{container="c0ffee",namespace="default",network="net",pod="web"} 1000
# HELP masq_source_ports_exhausted_seconds Time until the last source port is taken, at the rate of late; only where an end is foreseen.
# TYPE masq_source_ports_exhausted_seconds gauge
masq_source_ports_exhausted_seconds{destination="198.51.100.2",egress="192.0.2.1",port="443",protocol="tcp",zone="0"} 60
# HELP masq_nat_log_lost_total Records that the NAT log has not: a gap stands for them.
# TYPE masq_nat_log_lost_total counter
masq_nat_log_lost_total 1
# HELP masq_nat_log_export_lost_total Records that were not, or that may not have arrived: the collector is told how many.
# TYPE masq_nat_log_export_lost_total counter
masq_nat_log_export_lost_total 2
# HELP masq_nftables_generation Number of the kernel's present ruleset.
# TYPE masq_nftables_generation gauge
masq_nftables_generation 42
`), "masq_dropped_packets_total", "masq_egress_address_missing", "masq_attachments", "masq_repairs_total", "masq_conntrack_insert_failed_total", "masq_flows", "masq_nat_log_lost_total", "masq_nat_log_export_lost_total", "masq_source_ports_exhausted_seconds", "masq_attachment_translated_bytes", "masq_sync_duration_seconds", "masq_repair_duration_seconds", "masq_kernel_feature_available", "masq_nftables_generation")
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

// Conntrack that cannot be asked, and that was not sampled yet, is left out.
func TestFlowsThatAreNotKnown(t *testing.T) {
	f := facts()
	f.Flows = func() (Flows, error) { return Flows{}, errors.New("no") }
	if n, err := testutil.GatherAndCount(New(f), "masq_conntrack_entries"); err != nil || n != 0 {
		t.Errorf("%d values, %v", n, err)
	}
	f.Flows = func() (Flows, error) { return Flows{Entries: 1}, nil }
	r := New(f)
	if n, err := testutil.GatherAndCount(r, "masq_conntrack_entries"); err != nil || n != 1 {
		t.Errorf("%d values, %v", n, err)
	}
	if n, err := testutil.GatherAndCount(r, "masq_translated_flows", "masq_flows_sample_timestamp_seconds"); err != nil || n != 0 {
		t.Errorf("%d values, %v", n, err)
	}
}
