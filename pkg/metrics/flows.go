package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Flows is what conntrack tells. What is sampled is that of the last dump, which
// Sampled is the time of; zero where there was none yet.
type Flows struct {
	Entries, Limit                                            uint32
	Invalid, InsertFailed, Drop, EarlyDrop, Clashes, Restarts uint64

	Sampled      time.Time
	Took         time.Duration
	States       []FlowState
	Translated   int
	Helpers      map[string]int // flows by their helper
	Expectations int
	Attachments  []AttachmentFlows
	Ports        Ports
}

// Ports is how many source ports are left.
type Ports struct {
	Fullest  []PortUse
	Unlisted float64        // the share that no other has more of in use
	Warnings map[string]int // of the fullest, by level
	Failed   uint64         // packets for which there was none
}

// PortUse is how many of the source ports that one destination can be reached with are
// in use.
type PortUse struct {
	Protocol, Egress, Destination, Port, Zone string
	Share                                     float64
	ExhaustedIn                               time.Duration // negative: no end is foreseen
}

// FlowState is how many flows of a protocol are in a state.
type FlowState struct {
	Protocol, State string
	Flows           int
}

// AttachmentFlows is what an attachment has of the flows. Bytes are those of the flows
// that are there, both ways.
type AttachmentFlows struct {
	Network, Namespace, Pod, Container string
	Flows, Translated                  int
	TranslatedBytes                    uint64
}

var (
	entries      = desc("conntrack_entries", "Entries of the node's conntrack table.")
	limit        = desc("conntrack_limit", "Entries that the node's conntrack table may have.")
	invalid      = desc("conntrack_invalid_total", "Packets that belong to no flow and begin none.")
	insertFailed = desc("conntrack_insert_failed_total", "Flows that were not made, since another had their addresses and ports: a translation without a free port among them.")
	dropped      = desc("conntrack_drop_total", "Packets dropped since there was no room for their flow, or as for insert_failed.")
	earlyDrop    = desc("conntrack_early_drop_total", "Flows ended before their time to make room in a full table.")
	clashes      = desc("conntrack_clash_resolve_total", "Flows that two packets began at once, and that became one.")
	restarts     = desc("conntrack_search_restart_total", "Lookups that began again, since the table changed meanwhile.")
	flowStates   = desc("flows", "Flows by protocol and state, at the last sample.", "protocol", "state")
	translated   = desc("translated_flows", "Flows whose source is translated, at the last sample.")
	helperFlows  = desc("helper_flows", "Control connections that a conntrack helper reads, at the last sample.", "helper")
	expectations = desc("expectations", "Connections that helpers wait for, at the last sample.")
	sampled      = desc("flows_sample_timestamp_seconds", "When flows were last sampled.")
	sampleTime   = desc("flows_sample_duration_seconds", "Time that the last sample took.")
	portShare    = desc("source_ports_used_ratio", "Share of the usable source ports that are in use, for the fullest of protocol, egress address, and destination.", portLabels...)
	portsEnd     = desc("source_ports_exhausted_seconds", "Time until the last source port is taken, at the rate of late; only where an end is foreseen.", portLabels...)
	portWarnings = desc("source_ports_warnings", "How many of the fullest have reached a level.", "level")
	portsOthers  = desc("source_ports_unlisted_ratio", "Share of source ports that no destination has more of in use that is not listed.")
	portsFailed  = desc("source_ports_failed_packets_total", "Packets of new flows for which there was no free source port, until the last sample.")
	ownFlows     = desc("attachment_flows", "Flows that an attachment began, at the last sample; of those that have the most.", "network", "namespace", "pod", "container")
	ownNAT       = desc("attachment_translated_flows", "Of these, those whose source is translated.", "network", "namespace", "pod", "container")
	ownBytes     = desc("attachment_translated_bytes", "Bytes of an attachment's translated flows that are there, both ways, where the kernel counts.", "network", "namespace", "pod", "container")
)

var portLabels = []string{"protocol", "egress", "destination", "port", "zone"}

func (c *collector) collectFlows(counter, gauge func(*prometheus.Desc, float64, ...string)) {
	f, err := c.Flows()
	if err != nil {
		return // counted among the errors of netlink
	}
	gauge(entries, float64(f.Entries))
	gauge(limit, float64(f.Limit))
	for d, n := range map[*prometheus.Desc]uint64{
		invalid: f.Invalid, insertFailed: f.InsertFailed, dropped: f.Drop,
		earlyDrop: f.EarlyDrop, clashes: f.Clashes, restarts: f.Restarts,
	} {
		counter(d, float64(n))
	}
	if f.Sampled.IsZero() {
		return
	}
	gauge(sampled, float64(f.Sampled.UnixNano())/1e9)
	gauge(sampleTime, f.Took.Seconds())
	gauge(translated, float64(f.Translated))
	gauge(expectations, float64(f.Expectations))
	for _, s := range distinct(f.States, MaxStates, func(s *FlowState) []string { return []string{s.Protocol, s.State} }) {
		gauge(flowStates, float64(s.Flows), s.Protocol, s.State)
	}
	for name, n := range sums[int](f.Helpers).rows(MaxHelpers) {
		gauge(helperFlows, float64(n), name)
	}
	ports := func(u *PortUse) []string { return []string{u.Protocol, u.Egress, u.Destination, u.Port, u.Zone} }
	for _, u := range distinct(f.Ports.Fullest, MaxDestinations, ports) {
		labels := ports(&u)
		gauge(portShare, u.Share, labels...)
		if u.ExhaustedIn >= 0 {
			gauge(portsEnd, u.ExhaustedIn.Seconds(), labels...)
		}
	}
	for level, n := range f.Ports.Warnings {
		gauge(portWarnings, float64(n), level)
	}
	gauge(portsOthers, f.Ports.Unlisted)
	counter(portsFailed, float64(f.Ports.Failed))
	owners := func(a *AttachmentFlows) []string { return []string{a.Network, a.Namespace, a.Pod, a.Container} }
	for _, a := range distinct(f.Attachments, c.Attachments, owners) {
		labels := owners(&a)
		gauge(ownFlows, float64(a.Flows), labels...)
		gauge(ownNAT, float64(a.Translated), labels...)
		gauge(ownBytes, float64(a.TranslatedBytes), labels...)
	}
}
