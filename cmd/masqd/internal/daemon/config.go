package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/bytesize"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/pkg/flowlog"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
)

// Config has the settings of the command line of masqd.
type Config struct {
	StateDir string
	// ConfigFiles is a file, or a pattern of files, with the node's configuration.
	ConfigFiles string
	// Sources overrides the files' sourceCIDRs; empty: the files' list applies.
	Sources []netip.Prefix
	// Overrides are the given flags of ip-masq-agent, which override the files.
	Overrides []Override
	// Listen are the addresses that serve all paths. HealthListen is an address that serves
	// only /healthz and /readyz. Empty: none.
	Listen       []string
	HealthListen string
	// WebConfig is the web configuration of the TCP addresses of Listen; empty: none.
	WebConfig string
	Profile   bool
	// Resync is the time between two resyncs. ResyncGiven reports whether it overrides the
	// files.
	Resync      time.Duration
	ResyncGiven bool
	// DoctorInterval is the time between two runs of doctor's cheap checks; 0: none.
	DoctorInterval time.Duration
	// CleanupGrace is how long a container must be gone before its attachment is removed.
	CleanupGrace time.Duration
	// AttachmentMetrics is how many attachments have metrics of their flows.
	AttachmentMetrics int
	// NATLog is the directory of the NAT log; empty: none.
	NATLog        string
	NATLogOptions natlog.Options
	NATLogDirect  flowlog.DirectFlows
	// Collector receives the NAT log too; the zero value: none.
	Collector ipfix.Collector

	Version, Commit string
}

// Override is a flag of ip-masq-agent with its value.
type Override struct {
	nodeconf.LegacyFlag
	Value string
}

// hasNATLog reports whether flows are logged on disk or sent to a collector.
func (c *Config) hasNATLog() bool { return c.NATLog != "" || c.Collector != (ipfix.Collector{}) }

// Validate returns all invalid values, each with its flag.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.StateDir == "" {
		fail("--state-dir is empty; give a directory, or omit the flag")
	}
	if c.Resync < time.Second {
		fail("--resync-interval %s is below 1s; give 1s or more", c.Resync)
	}
	if i := c.DoctorInterval; i != 0 && i < time.Second {
		fail("--doctor-interval %s is below 1s; give 1s or more, or 0 for never", i)
	}
	if c.CleanupGrace < 0 {
		fail("--sweep-grace %s is below 0; give a duration such as 2m", c.CleanupGrace)
	}
	if c.AttachmentMetrics < 0 {
		fail("--attachment-metrics %d is below 0; give a number of attachments, or 0 for none", c.AttachmentMetrics)
	}
	for _, l := range c.Listen {
		if err := endpoint.Check(l); err != nil {
			fail("--listen: %w; give ADDRESS:PORT or unix:/PATH, several separated by commas, or \"\" for none", err)
		}
	}
	if c.HealthListen != "" {
		if err := endpoint.Check(c.HealthListen); err != nil {
			fail("--health-listen: %w; give ADDRESS:PORT or unix:/PATH, or \"\" for none", err)
		}
		if slices.Contains(c.Listen, c.HealthListen) {
			fail("--health-listen %s is an address of --listen too; give another port, or omit it", c.HealthListen)
		}
	}
	if c.WebConfig != "" {
		if err := endpoint.CheckWebConfig(c.WebConfig); err != nil {
			fail("--web.config.file %s: %w; correct the file, or omit the flag to serve without TLS and passwords", c.WebConfig, err)
		}
	}
	// natlog's own Validate names fields of its options, not flags.
	if n := bytesize.Size(c.NATLogOptions.MaxTotalBytes); n < natlog.MinTotalBytes {
		least := bytesize.Size(natlog.MinTotalBytes)
		fail("--nat-log-size %s is too small for the files of the log; give %s or more", &n, &least)
	}
	if age := c.NATLogOptions.MaxAge; age != 0 && age < natlog.MinAge {
		fail("--nat-log-age %s is too short; give %s or more, or 0 for no limit", age, natlog.MinAge)
	}
	// Reject unsupported values at start rather than at the next reading of the files.
	scratch := nodeconf.Default()
	for _, o := range c.Overrides {
		if err := o.Apply(&scratch, o.Value); err != nil {
			fail("--%s: %w", o.Name, err)
		}
	}
	return errors.Join(errs...)
}
