// Package metrics says in Prometheus' terms what the daemon does. Everything is
// read when it is asked for; nothing is counted twice.
package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Values is what the daemon counts. Durations are in seconds; a time that is zero
// has not come.
type Values struct {
	Looks, Repairs        map[string]int // by reason, by kind
	Failures, Storms, Gap int
	Stranded              int
	Full                  int // comparisons of the whole table
	Swept, Lost, Drift    int
	Restored              int
	Unreadable, Rebuilt   int // records
	Attachments, Policies int
	Errors                map[string]int // of the kernel, by the part that was asked
	Ended                 int            // looks
	Looking               time.Duration  // all of them together
	Repaired              Times
	LastLook, ConfigRead  time.Time
	ConfigValid           bool
	NATLog                *NATLog // nil where there is none
	Export                *Export // of the NAT log; nil where there is none
	// MissingEgress is the egress addresses that policies name and the node lacks.
	MissingEgress []EgressAddress
	// Connections is the open connections of the HTTP endpoint, and Closed is how many were
	// closed to make room for others.
	Connections, Closed int64
	// Offered is the features of the kernel, and whether it has them.
	Offered map[string]bool
}

// EgressAddress is an egress address of a policy.
type EgressAddress struct{ Policy, Address string }

// NATLog is what became of the NAT log.
type NATLog struct {
	Records, Lost uint64
	Bytes         int64
	Files         int
	Stopped       bool // nothing can be written at the moment
}

// Export is what became of the records for an IPFIX collector.
type Export struct {
	Sent, Lost uint64
	Stopped    bool // nothing can be sent at the moment
}

// Times is how long something took: how often, all together, and how often it took
// no longer than each of some times.
type Times struct {
	Count  int
	Sum    time.Duration
	Within map[time.Duration]int
}

func (t Times) buckets() map[float64]uint64 {
	out := map[float64]uint64{}
	for d, n := range t.Within {
		out[d.Seconds()] = uint64(n)
	}
	return out
}

// Facts is what the metrics are made of.
type Facts struct {
	Values func() Values
	// Flows is what conntrack tells.
	Flows func() (Flows, error)
	// Dropped is the packets that the rules have dropped, by reason. It never falls.
	Dropped func() (map[string]uint64, error)
	// Generation is that of the kernel's nftables ruleset.
	Generation func() (uint32, error)
	// Attachments is how many attachments have series.
	Attachments int
	// Version and Commit are those of the program.
	Version, Commit string
}

// New returns a registry with all metrics of masqd.
func New(f Facts) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{f},
	)
	return r
}

type collector struct{ Facts }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("masq_"+name, help, labels, nil)
}

var (
	info        = desc("build_info", "The program that runs; always 1.", "version", "commit")
	looks       = desc("syncs_total", "Events that asked for a look, by kind.", "reason")
	failures    = desc("sync_failures_total", "Looks that could not bring the kernel into agreement with the records.")
	repairs     = desc("repairs_total", "Differences that were mended, by the kind of thing.", "kind")
	lookTime    = desc("sync_duration_seconds", "Time that looks took.")
	repairTime  = desc("repair_duration_seconds", "Time that repairs took, from the beginning of the look to its end.")
	kernelErrs  = desc("netlink_errors_total", "Requests that the kernel refused, by the part of it that was asked.", "part")
	offered     = desc("kernel_feature_available", "1 if the kernel has the feature, 0 if it lacks it.", "feature")
	full        = desc("full_syncs_total", "Times that the whole table was read and compared.")
	stranded    = desc("egress_removed_flows_total", "Flows that had left with an egress address that is gone, and were deleted.")
	noEgress    = desc("egress_address_missing", "1 for each egress address that a policy names and the node does not have.", "policy", "address")
	natRecords  = desc("nat_log_records_total", "Records that the NAT log has taken.")
	natLost     = desc("nat_log_lost_total", "Records that the NAT log has not: a gap stands for them.")
	natBytes    = desc("nat_log_bytes", "Bytes of all files of the NAT log.")
	natFiles    = desc("nat_log_files", "Files of the NAT log.")
	natStopped  = desc("nat_log_stopped", "1 if nothing can be written to the NAT log, such as for a full disk.")
	expSent     = desc("nat_log_export_sent_total", "Records of the NAT log that were sent to the IPFIX collector.")
	expLost     = desc("nat_log_export_lost_total", "Records that were not, or that may not have arrived: the collector is told how many.")
	expStopped  = desc("nat_log_export_stopped", "1 if the IPFIX collector takes nothing at the moment.")
	storms      = desc("repair_loops_total", "Times that another program changed the table again and again.")
	drift       = desc("drift", "Differences that were found and could not be mended.")
	attachments = desc("attachments", "Attachments with a policy.")
	policies    = desc("policies", "Different policies in use.")
	lost        = desc("events_lost_total", "Times that the kernel had more to tell than there was room for.")
	gap         = desc("untranslated_flows_total", "Flows that began without translation while rules were missing, and were deleted.")
	unreadable  = desc("unreadable_records", "Records of attachments that cannot be read.")
	rebuilt     = desc("rebuilt_records_total", "Damaged records that were rebuilt from what the kernel has.")
	swept       = desc("removed_attachments_total", "Attachments whose container was gone and whose runtime never called DEL, that were removed.")
	restored    = desc("restored_attachments_total", "Attachments that were removed as gone and whose container turned up again.")
	lastLook    = desc("last_sync_timestamp_seconds", "When a look last ended well.")
	configRead  = desc("configuration_read_timestamp_seconds", "When the configuration was last read well.")
	configValid = desc("configuration_valid", "1 if the configuration that is there is good, 0 if an earlier one is in force.")
	ruleDrops   = desc("dropped_packets_total", "Packets that the rules have dropped, by reason.", "reason")
	generation  = desc("nftables_generation", "Number of the kernel's present ruleset.")
	connections = desc("http_connections", "Open connections of the HTTP endpoint.")
	closed      = desc("http_connections_closed_total", "Connections of the HTTP endpoint that were closed to make room for others.")
	unread      = desc("generation_read_failures", "1 if the generation could not be read from the kernel.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels []string) {
		for i := range labels {
			labels[i] = label(labels[i])
		}
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) { send(prometheus.CounterValue, d, v, labels) }
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(prometheus.GaugeValue, d, v, labels) }
	s := c.Values()
	gauge(info, 1, c.Version, c.Commit)
	byLabel := func(d *prometheus.Desc, all map[string]int) {
		for l, n := range sums[int](all).rows(MaxKinds) {
			counter(d, float64(n), l)
		}
	}
	byLabel(looks, s.Looks)
	byLabel(repairs, s.Repairs)
	counter(failures, float64(s.Failures))
	ch <- prometheus.MustNewConstSummary(lookTime, uint64(s.Ended), s.Looking.Seconds(), nil)
	ch <- prometheus.MustNewConstHistogram(repairTime, uint64(s.Repaired.Count), s.Repaired.Sum.Seconds(), s.Repaired.buckets())
	byLabel(kernelErrs, s.Errors)
	for i, name := range slices.Sorted(maps.Keys(s.Offered)) {
		if i < MaxKinds {
			gauge(offered, truth(s.Offered[name]), name)
		}
	}
	counter(full, float64(s.Full))
	counter(stranded, float64(s.Stranded))
	for _, a := range distinct(s.MissingEgress, MaxEgressAddresses, func(a *EgressAddress) []string { return []string{a.Policy, a.Address} }) {
		gauge(noEgress, 1, a.Policy, a.Address)
	}
	gauge(connections, float64(s.Connections))
	counter(closed, float64(s.Closed))
	counter(storms, float64(s.Storms))
	gauge(drift, float64(s.Drift))
	gauge(attachments, float64(s.Attachments))
	gauge(policies, float64(s.Policies))
	counter(lost, float64(s.Lost))
	counter(gap, float64(s.Gap))
	gauge(unreadable, float64(s.Unreadable))
	counter(rebuilt, float64(s.Rebuilt))
	counter(swept, float64(s.Swept))
	counter(restored, float64(s.Restored))
	if !s.LastLook.IsZero() {
		gauge(lastLook, float64(s.LastLook.UnixNano())/1e9)
	}
	if !s.ConfigRead.IsZero() {
		gauge(configRead, float64(s.ConfigRead.UnixNano())/1e9)
	}
	if l := s.NATLog; l != nil {
		counter(natRecords, float64(l.Records))
		counter(natLost, float64(l.Lost))
		gauge(natBytes, float64(l.Bytes))
		gauge(natFiles, float64(l.Files))
		gauge(natStopped, truth(l.Stopped))
	}
	if x := s.Export; x != nil {
		counter(expSent, float64(x.Sent))
		counter(expLost, float64(x.Lost))
		gauge(expStopped, truth(x.Stopped))
	}
	gauge(configValid, truth(s.ConfigValid))
	if all, err := c.Dropped(); err == nil {
		for reason, n := range sums[uint64](all).rows(MaxKinds) {
			counter(ruleDrops, float64(n), reason)
		}
	}
	g, err := c.Generation()
	if err == nil {
		gauge(generation, float64(g))
	}
	gauge(unread, truth(err != nil))
	c.collectFlows(counter, gauge)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
