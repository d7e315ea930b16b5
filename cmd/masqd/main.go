// Command masqd is the node daemon: it watches the kernel and the records, and
// mends what differs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/masq-cni/masq-cni/cmd/internal/arity"
	"github.com/masq-cni/masq-cni/cmd/internal/flaggroup"
	"github.com/masq-cni/masq-cni/cmd/internal/man"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/pkg/flowlog"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	stateDir string
	config   string
	sources  []netip.Prefix
	legacy   []override
	listen   addressList
	// health is where health and readiness alone are served; empty for nowhere.
	health string
	// webConfig is the web configuration of the TCP addresses of listen; empty for none.
	webConfig string
	logFormat string
	logLevel  string
	resync    time.Duration
	// resyncGiven says that a flag gave it, which counts before the file.
	resyncGiven bool
	grace       time.Duration
	pprof       bool
	// attachmentMetrics is how many attachments metrics tell apart.
	attachmentMetrics int
	// natLog is where the NAT log is written; empty for none.
	natLog        string
	natLogOptions natlog.Options
	natLogDirect  flowlog.DirectFlows
	// collector is where the NAT log goes too; the zero value for nowhere.
	collector ipfix.Collector
}

// hasNATLog reports whether flows are logged, on the disk or by a collector.
func (o *options) hasNATLog() bool { return o.natLog != "" || o.collector != (ipfix.Collector{}) }

// validate reports every flag that nothing can be done with.
func (o *options) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.stateDir == "" {
		fail("--state-dir is empty; give a directory, or leave the flag out")
	}
	if o.resync < time.Second {
		fail("--resync-interval %s is below a second; give 1s or more", o.resync)
	}
	if o.grace < 0 {
		fail("--sweep-grace %s is below 0; give a duration such as 2m", o.grace)
	}
	if o.attachmentMetrics < 0 {
		fail("--attachment-metrics %d is below 0; give a number of attachments, or 0 for none", o.attachmentMetrics)
	}
	for _, l := range o.listen {
		if err := endpoint.Check(l); err != nil {
			fail("--listen: %w; give ADDRESS:PORT or unix:/PATH, several separated by commas, or \"\" for none", err)
		}
	}
	if o.health != "" {
		if err := endpoint.Check(o.health); err != nil {
			fail("--health-listen: %w; give ADDRESS:PORT or unix:/PATH, or \"\" for none", err)
		}
		if slices.Contains(o.listen, o.health) {
			fail("--health-listen %s is an address of --listen too; give another port, or leave it out", o.health)
		}
	}
	if o.webConfig != "" {
		if err := endpoint.CheckWebConfig(o.webConfig); err != nil {
			fail("--web.config.file %s: %w; correct the file, or leave the flag out to serve without TLS and passwords", o.webConfig, err)
		}
	}
	// The messages of Validate name fields of Options, those here name flags.
	if n := size(o.natLogOptions.MaxTotalBytes); n < natlog.MinTotalBytes {
		least := size(natlog.MinTotalBytes)
		fail("--nat-log-size %s is too small for the files of the log; give %s or more", &n, &least)
	}
	if age := o.natLogOptions.MaxAge; age != 0 && age < natlog.MinAge {
		fail("--nat-log-age %s is too short; give %s or more, or 0 to keep records as long as there is room", age, natlog.MinAge)
	}
	return errors.Join(errs...)
}

// interval is a duration that may be given in seconds alone, as ip-masq-agent-v2 has
// it.
type interval time.Duration

func (i *interval) String() string { return time.Duration(*i).String() }
func (*interval) Type() string     { return "duration" }

func (i *interval) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		*i = interval(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is neither a duration such as 60s nor a number of seconds", s)
	}
	*i = interval(d)
	return nil
}

// collector is an IPFIX collector, as a flag gives it; empty for none.
type collector ipfix.Collector

func (*collector) Type() string { return "address:port" }

func (c *collector) String() string {
	if *c == (collector{}) {
		return ""
	}
	return ipfix.Collector(*c).String()
}

func (c *collector) Set(s string) error {
	if s == "" {
		*c = collector{}
		return nil
	}
	to, err := ipfix.ParseCollector(s)
	*c = collector(to)
	return err
}

func run(args, env []string, stdout, stderr io.Writer) int {
	// SIGTERM and SIGINT end the daemon; the rules stay.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var (
		o       options
		sources []string
		legacy  func() []override
	)
	c := &cobra.Command{
		Use:   "masqd",
		Short: "Keeps a node's masquerade rules in the kernel",
		Long: `Watches the records of attachments, and nftables in the network namespace that it
runs in, and restores what other programs remove. Needs CAP_NET_ADMIN, and nothing
else. When it ends, the rules stay.

Each flag can be given in the environment too: MASQD_STATE_DIR for --state-dir.
A flag on the command line overrides the environment.`,
		Version:       buildVersion + " (" + buildCommit + ")",
		Args:          arity.None,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE:       func(c *cobra.Command, _ []string) error { return fromEnvironment(c.Flags(), env) },
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(stderr, o.logFormat, o.logLevel)
			if err != nil {
				return err
			}
			if err := o.validate(); err != nil {
				return err
			}
			if o.sources, err = parseSources(sources); err != nil {
				return err
			}
			o.legacy = legacy()
			for _, l := range o.legacy {
				if l.Note != "" {
					log.Info("a flag of ip-masq-agent has no effect here", "flag", "--"+l.Name, "why", l.Note)
				}
			}
			o.resyncGiven = c.Flags().Changed("resync-interval")
			// A flag that asks for what is not to be had here is an error now, not
			// when a file is read.
			scratch := nodeconf.Default()
			for _, l := range o.legacy {
				if err := l.Apply(&scratch, l.value); err != nil {
					return fmt.Errorf("--%s: %w", l.Name, err)
				}
			}
			return endInTime(c.Context(), log, func(ctx context.Context) error { return serve(ctx, o, log) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", nodeconf.DefaultPath, "the node's configuration: a file, or a pattern such as /etc/config/ip-masq*")
	f.StringSliceVar(&sources, "source-cidrs", nil, "addresses of pods that another plugin wired, instead of the file's sourceCIDRs")
	f.StringVar(&o.stateDir, "state-dir", store.DefaultDir, "where the plugin keeps its records")
	o.listen = addressList{"127.0.0.1:9468"}
	f.Var(&o.listen, "listen", "addresses of /metrics, /healthz and /readyz, separated by commas: ADDRESS:PORT, or unix:/PATH for a Unix socket; empty for none")
	f.StringVar(&o.health, "health-listen", "", "a further address of /healthz and /readyz alone, without TLS and passwords, for probes; empty for none")
	f.StringVar(&o.webConfig, "web.config.file", "", "TLS and passwords for the TCP addresses of --listen: a web configuration as Prometheus exporters take it; empty for none")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	o.resync = 60 * time.Second
	f.Var((*interval)(&o.resync), "resync-interval", "time between comparisons of the kernel with the records that no event triggers; a number without a unit is of seconds")
	f.DurationVar(&o.grace, "sweep-grace", 2*time.Minute, "how long a container is gone before its rules are removed")
	f.IntVar(&o.attachmentMetrics, "attachment-metrics", 0, "how many attachments have metrics of their flows: those with the most")
	f.StringVar(&o.natLog, "nat-log", "", "directory of the NAT log: who was behind which address and port; empty for none")
	o.natLogOptions.MaxTotalBytes = 1 << 30
	f.Var((*size)(&o.natLogOptions.MaxTotalBytes), "nat-log-size", "how much of the disk the NAT log may take, such as 500Mi or 10Gi; the oldest records are deleted first")
	f.DurationVar(&o.natLogOptions.MaxAge, "nat-log-age", 0, "how long the NAT log keeps a record; 0 for as long as there is room")
	o.natLogDirect = flowlog.DirectOptedOut
	f.Var(&o.natLogDirect, "nat-log-direct", "untranslated flows of attachments that the NAT log has: opted-out (pods with the annotation egress), all or none")
	f.Var((*collector)(&o.collector), "nat-log-ipfix", "IPFIX collector that the NAT log is sent to, over UDP, or TCP with /tcp behind the port; empty for none")
	f.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof too")
	legacy = legacyFlags(f)
	flaggroup.Usage(c)
	c.AddCommand(man.Command())
	c.CompletionOptions.DisableDefaultCmd = true // cobra adds it beside any command
	c.SetArgs(twoHyphens(args))
	c.SetOut(stdout)
	c.SetErr(stderr)
	if err := c.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "masqd:", err)
		return 1
	}
	return 0
}

// serviceLink matches a variable that the kubelet sets for a Service, which may be
// called masqd, or masqd-metrics (pkg/kubelet/envvars/envvars.go of Kubernetes).
var serviceLink = regexp.MustCompile(`^\w+(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)=|^\w+_PORT=\w+://`)

// twoHyphens lets long flags be given with one, as ip-masq-agent takes them.
func twoHyphens(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		if oneHyphen.MatchString(a) {
			out[i] = "-" + a
		}
	}
	return out
}

var oneHyphen = regexp.MustCompile(`^-[a-z][a-z0-9_-]+(=|$)`)

// fromEnvironment sets the flags that were not given from variables of their names.
// A variable of ours that is no flag's is a mistake, and an error.
func fromEnvironment(flags *pflag.FlagSet, env []string) error {
	const prefix = "MASQD_"
	// Names of ip-masq-agent's flags have hyphens or underscores, those of variables
	// underscores only.
	named := map[string]*pflag.Flag{}
	underscores := strings.NewReplacer("-", "_", ".", "_")
	flags.VisitAll(func(f *pflag.Flag) {
		named[prefix+strings.ToUpper(underscores.Replace(f.Name))] = f
	})
	var errs []error
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		f := named[strings.ToUpper(name)]
		switch {
		case f == nil && serviceLink.MatchString(pair):
		case f == nil:
			errs = append(errs, fmt.Errorf("%s: there is no such flag; unset it, or see masqd --help for those that there are", name))
		case f.Changed:
		default:
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// patience is how long the daemon may take to end once it was told to. Reading the
// records of tens of thousands of attachments, and a look at them, take longer. Both
// can be left at any point: a transaction is made whole or not at all.
const patience = 600 * time.Millisecond

// endInTime returns what f does, or nil where f goes on after its context.
func endInTime(ctx context.Context, log *slog.Logger, f func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		log.Info("ended without waiting for what was under way; the rules stay")
		return nil
	}
}

func logger(w io.Writer, format, level string) (*slog.Logger, error) {
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
