package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// Sources are the functions and values that a scrape reads. All are required, except NATLog
// and Export.
type Sources struct {
	Sync          func() reconcile.Stats
	Configuration func() reconcile.NodeConfig
	// Records returns the number of unreadable records, and how many damaged records were
	// rebuilt.
	Records func() (unreadable, rebuilt int)
	// Flows reads the conntrack table. FlowErrors returns the number of failed requests.
	Flows      func() (flowstats.Flows, error)
	FlowErrors func() int
	// NATLog is nil if there is no NAT log on disk. Export is nil if there is no IPFIX
	// collector.
	NATLog func() natlog.Stats
	Export func() ipfix.Stats
	// Findings returns what the checks of doctor found, and when they ended: the zero time
	// before the first.
	Findings func() (time.Time, []Findings)
	// Connections returns the open connections of the HTTP endpoint, and how many were
	// closed to make room for others.
	Connections func() (open, closed int64)
	Rules       Rules
	// Helpers returns what masqd has done, for each helper that it can serve.
	Helpers func() []Helper
	// Features reports for each optional feature of the kernel whether the kernel has it.
	Features map[string]bool
	// MaxAttachments is how many attachments have series of their flows.
	MaxAttachments int
	// Version and Commit identify the running program.
	Version, Commit string
}

// Findings is the number of findings of a check with a severity. 0 means that the check was
// made and found nothing.
type Findings struct {
	Check, Severity string
	Count           int
}

// Rules reads the kernel's ruleset, as nft.Conn does.
type Rules interface {
	Generation() (uint32, error)
	CountedRules() ([]nft.CountedRule, error)
}

// New returns a registry with all metrics of masqd, of the Go runtime and of the process.
func New(s Sources) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{Sources: s, drops: dropCounter{rules: s.Rules.CountedRules}},
	)
	return r
}

type collector struct {
	Sources
	drops dropCounter
}

// daemonMetrics describe the program, its configuration, records and connections.
var daemonMetrics = []metric[collector]{
	gaugeRows("build_info", "Version of the running program; always 1.", []string{"version", "commit"}, func(c *collector, add func(float64, ...string)) {
		add(1, c.Version, c.Commit)
	}),
	gaugeBy("kernel_feature_available", "1 if the kernel has the feature, 0 if not.", "feature", func(c *collector) map[string]int {
		out := map[string]int{}
		for name, available := range c.Features {
			out[name] = int(number01(available))
		}
		return out
	}),
	timestamp("configuration_read_timestamp_seconds", "When a valid configuration was last read.", func(c *collector) time.Time { return c.Configuration().Read }),
	boolean("configuration_valid", "1 if the present configuration is valid, 0 if it is invalid and the last valid one applies.", func(c *collector) bool { return c.Configuration().Fault == "" }),
	gauge("unreadable_records", "Records of attachments that cannot be read.", func(c *collector) int { n, _ := c.Records(); return n }),
	counter("rebuilt_records_total", "Damaged records that were rebuilt from the state of the kernel.", func(c *collector) int { _, n := c.Records(); return n }),
	gaugeRows("doctor_findings", "Faults that the checks of doctor found, by check and severity. A check that could not be made has no series.", []string{"check", "severity"}, func(c *collector, add func(float64, ...string)) {
		_, all := c.Findings()
		for _, f := range all {
			add(float64(f.Count), f.Check, f.Severity)
		}
	}),
	timestamp("doctor_last_check_timestamp_seconds", "When the checks of doctor last ended.", func(c *collector) time.Time { at, _ := c.Findings(); return at }),
	gauge("http_connections", "Open connections of the HTTP endpoint.", func(c *collector) int64 { n, _ := c.Connections(); return n }),
	counter("http_connections_closed_total", "Connections of the HTTP endpoint closed to make room for others.", func(c *collector) int64 { _, n := c.Connections(); return n }),
	counterBy("dropped_packets_total", "Packets dropped by rules of the table, by reason.", "reason", func(c *collector) map[string]uint64 {
		all, _ := c.drops.total() // no series if the rules cannot be read
		return all
	}),
}

// generationMetrics describe the generation of the kernel's ruleset, which is NaN if it
// cannot be read.
var generationMetrics = []metric[float64]{
	gauge("nftables_generation", "Generation of the kernel's ruleset: it changes with each transaction.", func(g *float64) float64 { return *g }),
	boolean("nftables_generation_unreadable", "1 if the generation could not be read from the kernel.", func(g *float64) bool { return math.IsNaN(*g) }),
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.Sync()
	s.Errors["flows"] += c.FlowErrors()
	collectAll(ch, syncMetrics, &s)
	collectAll(ch, daemonMetrics, c)
	generation := math.NaN()
	if g, err := c.Rules.Generation(); err == nil {
		generation = float64(g)
	}
	collectAll(ch, generationMetrics, &generation)
	helpers := c.Helpers()
	collectAll(ch, helperMetrics, &helpers)
	if c.NATLog != nil {
		s := c.NATLog()
		collectAll(ch, natLogMetrics, &s)
	}
	if c.Export != nil {
		s := c.Export()
		collectAll(ch, exportMetrics, &s)
	}
	f, err := c.Flows()
	if err != nil {
		return // counted in netlink_errors_total
	}
	collectAll(ch, conntrackMetrics, &f)
	if f.Sample.Time.IsZero() {
		return
	}
	limitSample(&f.Sample, c.MaxAttachments)
	collectAll(ch, sampleMetrics, &f.Sample)
}
