package metrics

import (
	"strconv"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
)

type (
	flows  = flowstats.Flows
	sample = flowstats.Sample
)

// conntrackMetrics describe the conntrack table of the node's network namespace.
var conntrackMetrics = []metric[flows]{
	gauge("conntrack_entries", "Entries of the conntrack table.", func(f *flows) uint32 { return f.Table.Entries }),
	gauge("conntrack_limit", "Entries that the conntrack table can have.", func(f *flows) uint32 { return f.Table.Limit }),
	conntrackCounter("conntrack_invalid_total", "Packets that belong to no flow and begin none.", func(s *conntrack.Statistics) uint64 { return s.Invalid }),
	conntrackCounter("conntrack_insert_failed_total", "Flows not entered because another flow had their addresses and ports, for example because no source port was free.", func(s *conntrack.Statistics) uint64 { return s.InsertFailed }),
	conntrackCounter("conntrack_drop_total", "Packets dropped because the table was full, or for the reason of insert_failed.", func(s *conntrack.Statistics) uint64 { return s.Drop }),
	conntrackCounter("conntrack_early_drop_total", "Flows ended early to make room in a full table.", func(s *conntrack.Statistics) uint64 { return s.EarlyDrop }),
	conntrackCounter("conntrack_clash_resolve_total", "Flows that two packets began at the same time, and that became one.", func(s *conntrack.Statistics) uint64 { return s.ClashResolve }),
	conntrackCounter("conntrack_search_restart_total", "Lookups that restarted because the table changed.", func(s *conntrack.Statistics) uint64 { return s.SearchRestart }),
}

func conntrackCounter(name, help string, value func(*conntrack.Statistics) uint64) metric[flows] {
	return counter(name, help, func(f *flows) uint64 { return value(&f.Statistics) })
}

var (
	portLabels       = []string{"protocol", "egress", "destination", "port", "zone"}
	attachmentLabels = []string{"network", "namespace", "pod", "container"}
)

// sampleMetrics describe the last sample of all flows.
var sampleMetrics = []metric[sample]{
	timestamp("flows_sample_timestamp_seconds", "When flows were last sampled.", func(s *sample) time.Time { return s.Time }),
	gauge("flows_sample_duration_seconds", "Duration of the last sample.", func(s *sample) float64 { return s.Duration.Seconds() }),
	gaugeRows("flows", "Flows by protocol and state, as of the last sample.", []string{"protocol", "state"}, flowStates),
	gauge("translated_flows", "Flows with a translated source, as of the last sample.", func(s *sample) int { return s.Translated }),
	helperFlows("helper_flows", "Control connections with a conntrack helper, by helper, as of the last sample."),
	gauge("expectations", "Connections that conntrack helpers expect, as of the last sample.", func(s *sample) int { return s.Expectations }),

	portGauge("source_ports_used_ratio", "Share of the source ports in use, for the fullest combinations of protocol, egress address and destination.", func(g *report.PortGroup) (float64, bool) { return g.Share, true }),
	portGauge("source_ports_exhausted_seconds", "Time until no source port is free, if the number of ports in use keeps growing at the present rate; absent if it does not grow.", exhaustedIn),
	gaugeBy("source_ports_warnings", "Number of the fullest combinations at each severity.", "severity", portWarnings),
	gauge("source_ports_unlisted_ratio", "Upper limit of the share of source ports in use for the combinations without series.", func(s *sample) float64 { return s.Ports.Beyond }),
	counter("source_ports_failed_packets_total", "Packets of new flows dropped because no source port was free, until the last sample.", func(s *sample) uint64 { return s.Ports.Failed }),

	attachmentGauge("attachment_flows", "Flows that an attachment began, for the attachments with the most flows, as of the last sample.", func(a *flowstats.AttachmentFlows) float64 { return float64(a.Flows) }),
	attachmentGauge("attachment_translated_flows", "Flows of an attachment with a translated source.", func(a *flowstats.AttachmentFlows) float64 { return float64(a.Translated) }),
	attachmentGauge("attachment_translated_bytes", "Bytes of an attachment's present translated flows in both directions, if the kernel counts them.", func(a *flowstats.AttachmentFlows) float64 { return float64(a.TranslatedBytes) }),
}

// limitSample removes the rows beyond the limits.
func limitSample(s *sample, attachments int) {
	s.States = distinct(s.States, MaxStates, func(c *report.StateCount) []string { return []string{c.Protocol, c.State} })
	s.Ports.Groups = distinct(s.Ports.Groups, flowstats.MaxDestinations, portLabelsOf)
	s.Attachments = distinct(s.Attachments, attachments, attachmentLabelsOf)
}

func flowStates(s *sample, add func(float64, ...string)) {
	for _, c := range s.States {
		add(float64(c.Flows), c.Protocol, c.State)
	}
}

func helperFlows(name, help string) metric[sample] {
	return gaugeRows(name, help, []string{"helper"}, func(s *sample, add func(float64, ...string)) {
		all := sums[int]{}
		for _, h := range s.Helpers {
			all[report.Clean(h.Helper)] += h.Flows
		}
		for helper, n := range all.largest(MaxHelpers) {
			add(float64(n), helper)
		}
	})
}

func portGauge(name, help string, value func(*report.PortGroup) (value float64, known bool)) metric[sample] {
	return gaugeRows(name, help, portLabels, func(s *sample, add func(float64, ...string)) {
		for i := range s.Ports.Groups {
			if v, known := value(&s.Ports.Groups[i]); known {
				add(v, portLabelsOf(&s.Ports.Groups[i])...)
			}
		}
	})
}

func portLabelsOf(g *report.PortGroup) []string {
	port := g.DestinationPort
	if g.ICMP != nil { // as in portpool.Group
		port = uint16(g.ICMP.Type)<<8 | uint16(g.ICMP.Code)
	}
	return []string{g.Protocol, g.Egress.String(), g.Destination.String(), strconv.Itoa(int(port)), strconv.Itoa(int(g.Zone))}
}

func exhaustedIn(g *report.PortGroup) (seconds float64, known bool) {
	if g.ExhaustedIn == nil {
		return 0, false
	}
	return time.Duration(*g.ExhaustedIn).Seconds(), true
}

func portWarnings(s *sample) map[string]int {
	out := map[string]int{}
	for _, severity := range portpool.Severities {
		out[severity.String()] = 0
	}
	for i := range s.Ports.Groups {
		if severity := s.Ports.Groups[i].Severity; severity != portpool.OK {
			out[severity.String()]++
		}
	}
	return out
}

func attachmentGauge(name, help string, value func(*flowstats.AttachmentFlows) float64) metric[sample] {
	return gaugeRows(name, help, attachmentLabels, func(s *sample, add func(float64, ...string)) {
		for i := range s.Attachments {
			add(value(&s.Attachments[i]), attachmentLabelsOf(&s.Attachments[i])...)
		}
	})
}

func attachmentLabelsOf(a *flowstats.AttachmentFlows) []string {
	return []string{a.Network, a.Namespace, a.Pod, a.Container}
}
