package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/internal/flaggroup"
	"github.com/masq-cni/masq-cni/cmd/internal/man"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/bytesize"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/daemon"
	"github.com/masq-cni/masq-cni/pkg/flowlog"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// newCommand returns the command line of masqd, which calls start with a valid Config. It
// logs to stderr.
func newCommand(env []string, stderr io.Writer, start func(context.Context, *daemon.Config, *slog.Logger) error) *cobra.Command {
	var (
		o                   = daemon.Config{Version: buildVersion, Commit: buildCommit}
		sources             []string
		overrides           func() []daemon.Override
		logFormat, logLevel string
	)
	c := &cobra.Command{
		Use:   "masqd",
		Short: "Keeps a node's masquerade rules in the kernel",
		Long: `Watches the records of attachments and the nftables rules of its network namespace,
and restores the rules that other programs remove. Needs CAP_NET_ADMIN, and no other
capability. When it ends, the rules stay.

Each flag can be given in the environment too: MASQD_STATE_DIR for --state-dir.
A flag on the command line overrides the environment.`,
		Version:       buildVersion + " (" + buildCommit + ")",
		Args:          arity.None,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE:       func(c *cobra.Command, _ []string) error { return fromEnvironment(c.Flags(), env) },
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := newLogger(stderr, logFormat, logLevel)
			if err != nil {
				return err
			}
			o.ResyncGiven, o.Overrides = c.Flags().Changed("resync-interval"), overrides()
			if err := o.Validate(); err != nil {
				return err
			}
			if o.Sources, err = parseSources(sources); err != nil {
				return err
			}
			for _, x := range o.Overrides {
				if x.Note != "" {
					log.Info("flag of ip-masq-agent has no effect", "flag", "--"+x.Name, "why", x.Note)
				}
			}
			return start(c.Context(), &o, log)
		},
	}
	f := c.Flags()
	f.StringVar(&o.ConfigFiles, "config", nodeconf.DefaultPath, "the node's configuration: a file, or a pattern such as /etc/config/ip-masq*")
	f.StringSliceVar(&sources, "source-cidrs", nil, "addresses that other plugins gave to pods; overrides the file's sourceCIDRs")
	f.StringVar(&o.StateDir, "state-dir", store.DefaultDir, "where the plugin keeps its records")
	o.Listen = []string{"127.0.0.1:9468"}
	f.Var((*addressList)(&o.Listen), "listen", "addresses of /metrics, /healthz and /readyz, separated by commas: ADDRESS:PORT, or unix:/PATH for a Unix socket; empty for none")
	f.StringVar(&o.HealthListen, "health-listen", "", "additional address of /healthz and /readyz only, without TLS and passwords, for probes; empty for none")
	f.StringVar(&o.WebConfig, "web.config.file", "", "TLS and passwords for the TCP addresses of --listen: a web configuration of Prometheus exporters; empty for none")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	o.Resync = 60 * time.Second
	f.Var((*interval)(&o.Resync), "resync-interval", "time between two resyncs, which compare the kernel with all records even if no event has come; a number without a unit is in seconds")
	f.DurationVar(&o.DoctorInterval, "doctor-interval", 5*time.Minute, "time between two runs of the checks of masq-cni doctor that take milliseconds; 0 for never")
	f.DurationVar(&o.CleanupGrace, "sweep-grace", 2*time.Minute, "how long a container must be gone before its rules are removed as stale")
	f.IntVar(&o.AttachmentMetrics, "attachment-metrics", 0, "number of attachments with metrics of their flows: the attachments with the most flows; 0 for none")
	f.StringVar(&o.NATLog, "nat-log", "", "directory of the NAT log, which records the pod behind each translated address and port; empty for none")
	o.NATLogOptions.MaxTotalBytes = 1 << 30
	f.Var((*bytesize.Size)(&o.NATLogOptions.MaxTotalBytes), "nat-log-size", "maximum size of the NAT log on disk, such as 500Mi or 10Gi; the oldest records are deleted first")
	f.DurationVar(&o.NATLogOptions.MaxAge, "nat-log-age", 0, "how long the NAT log keeps a record; 0 for no limit")
	o.NATLogDirect = flowlog.DirectOptedOut
	f.Var(&o.NATLogDirect, "nat-log-direct", "which untranslated flows of attachments the NAT log has: opted-out (those of pods with the annotation egress), all or none")
	f.Var((*collector)(&o.Collector), "nat-log-ipfix", "IPFIX collector that receives the NAT log, over UDP, or over TCP with /tcp after the port; empty for none")
	f.BoolVar(&o.Profile, "pprof", false, "serve /debug/pprof too")
	overrides = legacyFlags(f)
	flaggroup.Usage(c)
	c.AddCommand(man.Command())
	c.CompletionOptions.DisableDefaultCmd = true // cobra adds it if there is any subcommand
	return c
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn and error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}
