package daemon

import (
	"context"

	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/metrics"
)

// metricSources returns the functions that a scrape calls.
func (d *Daemon) metricSources(ctx context.Context) metrics.Sources {
	s := metrics.Sources{
		Sync: d.loop.Stats, Configuration: d.conf.active, Records: d.bad.counts,
		Flows:      func() (flowstats.Flows, error) { return d.sampler.Flows(ctx) },
		FlowErrors: d.sampler.Errors,
		Connections: func() (open, closed int64) {
			if d.server == nil {
				return 0, 0
			}
			return d.server.Connections()
		},
		Rules: d.queries, Helpers: d.helpers.Metrics, Findings: d.findings.counts, Features: d.features, MaxAttachments: d.cfg.AttachmentMetrics,
		Version: d.cfg.Version, Commit: d.cfg.Commit,
	}
	if d.flowLog != nil && d.flowLog.Writer != nil {
		s.NATLog = d.flowLog.Writer.Stats
	}
	if d.flowLog != nil && d.flowLog.Exporter != nil {
		s.Export = d.flowLog.Exporter.Stats
	}
	return s
}
