package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

type stats = reconcile.Stats

// syncMetrics describe the syncs of masqd, and what they changed.
var syncMetrics = []metric[stats]{
	counterBy("syncs_total", "Requests for a sync, by reason.", "reason", func(s *stats) map[string]int { return s.Requests }),
	counter("sync_failures_total", "Syncs that ended with an error.", func(s *stats) int { return s.Failures }),
	summary("sync_duration_seconds", "Duration of syncs.", func(s *stats) (int, time.Duration) { return s.Syncs, s.SyncTime }),
	timestamp("last_sync_timestamp_seconds", "When a sync last ended without an error.", func(s *stats) time.Time { return s.LastSync }),
	counter("full_syncs_total", "Comparisons of the whole table.", func(s *stats) int { return s.FullSyncs }),
	counterBy("repairs_total", "Differences that were repaired, by the kind of the object.", "kind", func(s *stats) map[string]int { return s.Repairs }),
	repairDuration("repair_duration_seconds", "Duration of syncs that repaired something."),
	counter("repair_loops_total", "Repair loops: 20 successive repairs, because another program kept changing the table or links.", func(s *stats) int { return s.RepairLoops }),
	gauge("drift", "Differences that the last sync could not repair.", func(s *stats) int { return s.Drift }),
	counter("untranslated_flows_total", "Flows that began without translation while rules were missing, and were deleted.", func(s *stats) int { return s.UntranslatedFlows }),
	counter("egress_removed_flows_total", "Flows whose egress address was removed from the node, and that were deleted.", func(s *stats) int { return s.EgressRemovedFlows }),
	counter("removed_attachments_total", "Attachments removed because their container no longer exists and the runtime did not call DEL.", func(s *stats) int { return s.Removed }),
	counter("restored_attachments_total", "Attachments restored after their removal, because their container exists.", func(s *stats) int { return s.Restored }),
	counter("events_lost_total", "Times that notifications of the kernel were lost because a buffer was full; each time everything is compared.", func(s *stats) int { return s.LostEvents }),
	counterBy("netlink_errors_total", "Requests to the kernel that failed, by the part of the node.", "part", func(s *stats) map[string]int { return s.Errors }),
	gauge("attachments", "Ready attachments that have a policy.", func(s *stats) int { return s.Attachments }),
	gauge("policies", "Different policies that apply to attachments or sourceCIDRs.", func(s *stats) int { return s.Policies }),
	gaugeRows("egress_address_missing", "1 for each egress address that a policy names and the node does not have.", []string{"policy", "address"}, missingEgress),
}

func missingEgress(s *stats, add func(float64, ...string)) {
	var all [][]string
	for _, m := range s.MissingEgress {
		all = append(all, []string{m.Policy, m.Address.String()})
	}
	for _, labels := range distinct(all, MaxEgressAddresses, func(l *[]string) []string { return *l }) {
		add(1, labels...)
	}
}

// summary has a count and a sum.
func summary[T any](name, help string, value func(*T) (count int, sum time.Duration)) metric[T] {
	d := desc(name, help)
	return metric[T]{d, func(v *T, ch chan<- prometheus.Metric) {
		count, sum := value(v)
		ch <- prometheus.MustNewConstSummary(d, uint64(count), sum.Seconds(), nil)
	}}
}

// repairDuration is the histogram of reconcile.RepairTimes.
func repairDuration(name, help string) metric[stats] {
	d := desc(name, help)
	return metric[stats]{d, func(s *stats, ch chan<- prometheus.Metric) {
		buckets := map[float64]uint64{}
		for i, t := range reconcile.RepairTimes {
			buckets[t.Seconds()] = uint64(s.RepairsWithin[i])
		}
		count := s.RepairsWithin[len(reconcile.RepairTimes)]
		ch <- prometheus.MustNewConstHistogram(d, uint64(count), s.RepairTime.Seconds(), buckets)
	}}
}
