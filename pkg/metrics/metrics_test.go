package metrics

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// fakeRules are rules with one drop counter.
type fakeRules struct{ generation func() (uint32, error) }

func (f fakeRules) Generation() (uint32, error) { return f.generation() }

func (fakeRules) CountedRules() ([]nft.CountedRule, error) {
	return []nft.CountedRule{{Chain: "sources", ID: "sources/spoofed", Counts: true, Counter: nft.Counter{Packets: 6}}}, nil
}

// exampleSources has a value for every metric.
func exampleSources() Sources {
	minute := report.Seconds(time.Minute)
	group := func(destination string, share float64) report.PortGroup {
		return report.PortGroup{Protocol: "tcp", Egress: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddr(destination), DestinationPort: 443, Share: share}
	}
	full := group("198.51.100.2", 0.9)
	full.ExhaustedIn, full.Severity = &minute, portpool.Warning
	return Sources{
		Sync: func() reconcile.Stats {
			s := reconcile.Stats{
				Requests: map[string]int{"rules": 3}, Repairs: map[string]int{"element": 2}, Errors: map[string]int{"rules": 1},
				MissingEgress: []ruleset.MissingEgress{{Policy: "node-1a2b3c4d", Address: netip.MustParseAddr("192.0.2.7")}},
				Attachments:   7, Policies: 1, Syncs: 4, SyncTime: time.Second, RepairTime: 30 * time.Millisecond, LastSync: time.Unix(1, 0),
			}
			for i := range s.RepairsWithin {
				s.RepairsWithin[i] = min(i, 2)
			}
			return s
		},
		Configuration: func() reconcile.NodeConfig { return reconcile.NodeConfig{Read: time.Unix(1, 0)} },
		Records:       func() (unreadable, rebuilt int) { return 1, 2 },
		NATLog:        func() natlog.Stats { return natlog.Stats{Appended: 5, Lost: 1, Bytes: 100, Files: 2} },
		Export:        func() ipfix.Stats { return ipfix.Stats{Sent: 4, Lost: 2} },
		Flows: func() (flowstats.Flows, error) {
			return flowstats.Flows{
				Table: conntrack.Table{Entries: 9, Limit: 100}, Statistics: conntrack.Statistics{InsertFailed: 3},
				Sample: flowstats.Sample{
					Time: time.Unix(2, 0), Duration: time.Second,
					States: []report.StateCount{{Protocol: "tcp", State: "ESTABLISHED", Flows: 5}}, Translated: 4,
					Helpers: []report.HelperCount{{Helper: "ftp", Flows: 1}}, Expectations: 2,
					Ports:       report.Ports{Groups: []report.PortGroup{full, group("198.51.100.3", 0.5)}, Beyond: 0.1, Failed: 2},
					Attachments: []flowstats.AttachmentFlows{{Network: "net", Namespace: "default", Pod: "web", Container: "c0ffee", Flows: 3, Translated: 2, TranslatedBytes: 1000}},
				},
			}, nil
		},
		FlowErrors: func() int { return 0 },
		Findings: func() (time.Time, []Findings) {
			return time.Unix(3, 0), []Findings{{"next-hop", "error", 0}, {"uplink-mtu", "warning", 2}}
		},
		Helpers: func() []Helper {
			return []Helper{{"rtsp", 2, 8, map[string]uint64{"ports": 1}, map[string]uint64{"tls": 3}}}
		},
		Connections:    func() (open, closed int64) { return 1, 0 },
		Rules:          fakeRules{func() (uint32, error) { return 42, nil }},
		Features:       map[string]bool{"flowtable": false},
		MaxAttachments: 1,
		Version:        "1", Commit: "abc",
	}
}

func TestMetrics(t *testing.T) {
	r := New(exampleSources())
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	err = testutil.GatherAndCompare(r, strings.NewReader(`
# HELP masq_attachment_translated_bytes Bytes of an attachment's present translated flows in both directions, if the kernel counts them.
# TYPE masq_attachment_translated_bytes gauge
masq_attachment_translated_bytes{container="c0ffee",namespace="default",network="net",pod="web"} 1000
# HELP masq_attachments Ready attachments that have a policy.
# TYPE masq_attachments gauge
masq_attachments 7
# HELP masq_conntrack_insert_failed_total Flows not entered because another flow had their addresses and ports, for example because no source port was free.
# TYPE masq_conntrack_insert_failed_total counter
masq_conntrack_insert_failed_total 3
# HELP masq_doctor_findings Faults that the checks of doctor found, by check and severity. A check that could not be made has no series.
# TYPE masq_doctor_findings gauge
masq_doctor_findings{check="next-hop",severity="error"} 0
masq_doctor_findings{check="uplink-mtu",severity="warning"} 2
# HELP masq_dropped_packets_total Packets dropped by rules of the table, by reason.
# TYPE masq_dropped_packets_total counter
masq_dropped_packets_total{reason="expected"} 0
masq_dropped_packets_total{reason="invalid"} 0
masq_dropped_packets_total{reason="loopback"} 0
masq_dropped_packets_total{reason="no-egress-address"} 0
masq_dropped_packets_total{reason="no-port"} 0
masq_dropped_packets_total{reason="other-link"} 0
masq_dropped_packets_total{reason="spoofed"} 6
# HELP masq_egress_address_missing 1 for each egress address that a policy names and the node does not have.
# TYPE masq_egress_address_missing gauge
masq_egress_address_missing{address="192.0.2.7",policy="node-1a2b3c4d"} 1
# HELP masq_flows Flows by protocol and state, as of the last sample.
# TYPE masq_flows gauge
masq_flows{protocol="tcp",state="ESTABLISHED"} 5
# HELP masq_kernel_feature_available 1 if the kernel has the feature, 0 if not.
# TYPE masq_kernel_feature_available gauge
masq_kernel_feature_available{feature="flowtable"} 0
# HELP masq_nat_log_export_lost_total Records of the NAT log that were not sent to the IPFIX collector, or that may not have arrived; the collector receives their number.
# TYPE masq_nat_log_export_lost_total counter
masq_nat_log_export_lost_total 2
# HELP masq_nat_log_lost_total Records that the NAT log lost; a gap record in the log has their number.
# TYPE masq_nat_log_lost_total counter
masq_nat_log_lost_total 1
# HELP masq_nftables_generation Generation of the kernel's ruleset: it changes with each transaction.
# TYPE masq_nftables_generation gauge
masq_nftables_generation 42
# HELP masq_repair_duration_seconds Duration of syncs that repaired something.
# TYPE masq_repair_duration_seconds histogram
masq_repair_duration_seconds_bucket{le="0.005"} 0
masq_repair_duration_seconds_bucket{le="0.01"} 1
masq_repair_duration_seconds_bucket{le="0.02"} 2
masq_repair_duration_seconds_bucket{le="0.05"} 2
masq_repair_duration_seconds_bucket{le="0.1"} 2
masq_repair_duration_seconds_bucket{le="0.25"} 2
masq_repair_duration_seconds_bucket{le="1"} 2
masq_repair_duration_seconds_bucket{le="5"} 2
masq_repair_duration_seconds_bucket{le="+Inf"} 2
masq_repair_duration_seconds_sum 0.03
masq_repair_duration_seconds_count 2
# HELP masq_repairs_total Differences that were repaired, by the kind of the object.
# TYPE masq_repairs_total counter
masq_repairs_total{kind="element"} 2
# HELP masq_source_ports_exhausted_seconds Time until no source port is free, if the number of ports in use keeps growing at the present rate; absent if it does not grow.
# TYPE masq_source_ports_exhausted_seconds gauge
masq_source_ports_exhausted_seconds{destination="198.51.100.2",egress="192.0.2.1",port="443",protocol="tcp",zone="0"} 60
# HELP masq_sync_duration_seconds Duration of syncs.
# TYPE masq_sync_duration_seconds summary
masq_sync_duration_seconds_sum 1
masq_sync_duration_seconds_count 4
`), "masq_doctor_findings", "masq_dropped_packets_total", "masq_egress_address_missing", "masq_attachments", "masq_repairs_total", "masq_conntrack_insert_failed_total", "masq_flows", "masq_nat_log_lost_total", "masq_nat_log_export_lost_total", "masq_source_ports_exhausted_seconds", "masq_attachment_translated_bytes", "masq_sync_duration_seconds", "masq_repair_duration_seconds", "masq_kernel_feature_available", "masq_nftables_generation")
	if err != nil {
		t.Error(err)
	}
}

// TestSyncCounters checks that each metric of syncs has the value of its own statistic.
func TestSyncCounters(t *testing.T) {
	s := exampleSources()
	s.Sync = func() reconcile.Stats {
		return reconcile.Stats{
			Failures: 1, FullSyncs: 2, RepairLoops: 3, Drift: 4, UntranslatedFlows: 5, EgressRemovedFlows: 6,
			Removed: 7, Restored: 8, LostEvents: 9, Attachments: 10, Policies: 11,
			Errors: map[string]int{"flows": 12},
		}
	}
	s.FlowErrors = func() int { return 100 }
	want := map[string]float64{
		"masq_sync_failures_total": 1, "masq_full_syncs_total": 2, "masq_repair_loops_total": 3, "masq_drift": 4,
		"masq_untranslated_flows_total": 5, "masq_egress_removed_flows_total": 6,
		"masq_removed_attachments_total": 7, "masq_restored_attachments_total": 8, "masq_events_lost_total": 9,
		"masq_attachments": 10, "masq_policies": 11,
		"masq_netlink_errors_total": 112, // of syncs and of the sampler
	}
	families, err := New(s).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		value, ok := want[f.GetName()]
		if !ok {
			continue
		}
		delete(want, f.GetName())
		if m := f.GetMetric()[0]; len(f.GetMetric()) != 1 || m.GetCounter().GetValue()+m.GetGauge().GetValue() != value {
			t.Errorf("%s: %v, want %g", f.GetName(), f.GetMetric(), value)
		}
	}
	if len(want) > 0 {
		t.Errorf("metrics without a series: %v", want)
	}
}

// The generation is absent if the kernel does not answer.
func TestUnreadableGeneration(t *testing.T) {
	s := exampleSources()
	s.Rules = fakeRules{func() (uint32, error) { return 0, errors.New("netlink error") }}
	r := New(s)
	if n, err := testutil.GatherAndCount(r, "masq_nftables_generation"); err != nil || n != 0 {
		t.Errorf("%d series, %v", n, err)
	}
	if n, err := testutil.GatherAndCount(r, "masq_nftables_generation_unreadable"); err != nil || n != 1 {
		t.Errorf("%d series, %v", n, err)
	}
}

// Metrics of flows are absent if the kernel does not answer, and before the first sample.
func TestUnknownFlows(t *testing.T) {
	count := func(flows flowstats.Flows, err error, names ...string) int {
		t.Helper()
		s := exampleSources()
		s.Flows = func() (flowstats.Flows, error) { return flows, err }
		n, err := testutil.GatherAndCount(New(s), names...)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	if n := count(flowstats.Flows{}, errors.New("netlink error"), "masq_conntrack_entries"); n != 0 {
		t.Errorf("%d series of a table that cannot be read", n)
	}
	unsampled := flowstats.Flows{Table: conntrack.Table{Entries: 1}}
	if n := count(unsampled, nil, "masq_conntrack_entries"); n != 1 {
		t.Errorf("%d series of the table before the first sample, want 1", n)
	}
	if n := count(unsampled, nil, "masq_translated_flows", "masq_flows_sample_timestamp_seconds"); n != 0 {
		t.Errorf("%d series of flows before the first sample", n)
	}
}
