package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/flowlog"
	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/leasehistory"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/sockets"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// serve wires the daemon and runs it until the context ends.
func serve(ctx context.Context, o options, log *slog.Logger) (err error) {
	boundMemory()
	records, err := store.Open(o.stateDir)
	if err != nil {
		return err
	}
	cache, err := reconcile.NewCache(records)
	if err != nil {
		return fmt.Errorf("--state-dir %q: %w", o.stateDir, err)
	}
	lock, err := records.Lock()
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("%w on %s; end it first, or give this one another --state-dir", store.ErrLocked, records.Dir())
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	tell := func(change func(*store.Daemon)) {
		if err := lock.Tell(change); err != nil {
			log.Warn("masq-cni inspect does not see the state of masqd", "err", err)
		}
	}
	if err := records.MarkNATLog(o.hasNATLog()); err != nil {
		return err
	}
	rules, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rules.Close() }()
	news, err := rules.Watch()
	if err != nil {
		return err
	}
	offered := sayFeatures(log, rules)
	conf := &configuration{pattern: o.config, sources: o.sources, legacy: o.legacy, fixedResync: o.resyncGiven, records: records, log: log}
	conf.faulty = func(text string) {
		tell(func(d *store.Daemon) { d.Configuration, d.ConfigurationFault = o.config, text })
	}
	if conf.earlier, err = records.Node(); err != nil {
		log.Error("the policy of an earlier masqd cannot be read", "err", err)
	}
	if conf.watcher, err = fsnotify.NewWatcher(); err != nil {
		return fmt.Errorf("follow the configuration: %w", err)
	}
	conf.read()
	links, err := veth.Open()
	if err != nil {
		return err
	}
	defer func() { _ = links.Close() }()
	host, err := links.Watch()
	if err != nil {
		return err
	}
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = flows.Close() }()
	kernel := store.Kernel{HasLink: links.HasLink, Aliases: links.Aliases, NetNS: veth.NetNSState}
	if kernel.Boot, err = veth.BootID(); err != nil {
		log.Warn("records of an earlier boot cannot be told from those of this one", "err", err)
	}
	deps := reconcile.Deps{
		Records: cache,
		Node:    conf.node,
		Rules:   &speaking{Conn: rules, node: conf.node, log: log},
		Host:    links,
		ServicePorts: func(chosen []masq.PortRange) ([]masq.PortRange, error) {
			ports, err := sockets.Services(chosen)
			if err != nil {
				return nil, err
			}
			published, err := rules.Published()
			return append(ports, published...), err
		},
		DeleteFlows:         flows.DeleteMatching,
		Evidence:            kernel,
		NodeNetNS:           veth.NodeNetNSState,
		ReloadConfiguration: func() { conf.read() },
		CPUTime:             processorTime,
		ResyncInterval:      o.resync,
		CleanupGrace:        o.grace,
		Log:                 log,
	}
	if conf.earlier != nil {
		deps.PreviousEgress = conf.earlier.SNATAddresses
	}
	loop, err := reconcile.New(deps)
	if err != nil {
		return err
	}
	flowLog, err := openFlowLog(ctx, o, cache, records, conf.node, log)
	if err != nil {
		return err
	}
	if flowLog != nil {
		defer func() { err = errors.Join(err, flowLog.Close()) }()
	}
	sampler, err := flowstats.Open(ctx, flowstats.Options{
		Records: records.All, Cached: func() []*store.Record { return cache.Snapshot().Records }, Read: records.Get,
		Pools: func() *portpool.Pools {
			node := conf.node()
			return portpool.PoolsOf(node.Attachments(cache.Snapshot().Records), node.Sources.Prefixes, node.Sources.Policy)
		},
		Attachments: o.attachmentMetrics, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { _ = sampler.Close() }()
	// A connection of its own: the loop's is not for several goroutines.
	queries, err := openLockedRules()
	if err != nil {
		return err
	}
	defer func() { _ = queries.close() }()
	rebuild, err := reconcile.NewRebuilder(reconcile.RebuildDeps{
		Records: cache, Node: conf.node,
		Attached: queries.Attached, DirectRanges: queries.DirectRanges,
		Describe: links.Describe, Boot: kernel.Boot, NodeNetNS: veth.OwnNetNS(), Log: log,
	})
	if err != nil {
		return err
	}
	unread := &unreadable{
		cache: cache, records: records, log: log, wake: make(chan struct{}, 1),
		changed: func() { loop.RequestSync("records", reconcile.Soon, reconcile.Changes) },
		rebuild: rebuild,
	}
	unread.pass() // before a sync sees rules that no record explains
	var server *endpoint.Server
	sources := metrics.Sources{
		Sync: loop.Stats, Configuration: conf.node, Records: unread.counts,
		Flows: func() (flowstats.Flows, error) { return sampler.Flows(ctx) }, FlowErrors: sampler.Errors,
		Connections: func() (open, closed int64) {
			if server == nil {
				return 0, 0
			}
			return server.Connections()
		},
		Rules: queries, Features: offered, Attachments: o.attachmentMetrics,
		Version: buildVersion, Commit: buildCommit,
	}
	if flowLog != nil && flowLog.Writer != nil {
		sources.NATLog = flowLog.Writer.Stats
	}
	if flowLog != nil && flowLog.Exporter != nil {
		sources.Export = flowLog.Exporter.Stats
	}
	registry := metrics.New(sources)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	compared := &comparison{
		links: links, known: loop.UnrepairedLinks, asked: make(chan struct{}, 1),
		records: func() []*store.Record { return cache.Snapshot().Records }, whole: records.Get,
		begun:  func() bool { return !loop.Stats().LastSync.IsZero() },
		repair: func() { loop.RequestSync("links", reconcile.Soon, reconcile.AllLinks|reconcile.Forwarding) },
	}
	served, err := listen(o, log, tell)
	if err != nil {
		return err
	}
	if len(served.All) > 0 || served.Health != nil {
		server = endpoint.New(endpoint.Options{
			Registry: registry, Profile: o.pprof, WebConfig: o.webConfig, Log: log,
			Readiness: func() (any, bool) {
				shortages, losses := sampler.Shortages(ctx)
				r := ready(loop.Stats(), conf.node(), slices.Concat(unread.trouble(), shortages, flowLog.Faults(), linkFaults(loop.UnrepairedLinks()), compared.reasons()))
				r.Losses = losses
				return r, r.Ready
			},
		}, served, endpoint.Connections(served.Len()))
		run("http", server.Serve)
	}
	run("unreadable records", unread.run)
	run("comparison", compared.run)
	run("records", func(ctx context.Context) error {
		return cache.Run(ctx, func(lost bool) {
			unread.notice()
			if lost {
				loop.EventsLost()
				return
			}
			loop.RequestSync("records", reconcile.Soon, reconcile.Changes)
		})
	})
	run("configuration", func(ctx context.Context) error {
		return conf.run(ctx, func() { loop.RequestSync("configuration", reconcile.Interactive, reconcile.Changes) })
	})
	run("rules", func(ctx context.Context) error {
		return news.Run(ctx, func(t nft.Transaction, lost bool) {
			if lost {
				loop.EventsLost()
				return
			}
			loop.Transaction(t)
		})
	})
	run("links", func(ctx context.Context) error {
		changes := &addresses{loop: loop, after: func(d time.Duration, f func()) { time.AfterFunc(d, f) }}
		return host.Run(ctx, func(e veth.Event) {
			loop.LinksDamaged(e.Damaged)
			if e.Lost {
				loop.EventsLost()
			}
			if e.Links || len(e.Damaged) > 0 {
				loop.RequestSync("links", reconcile.Soon, reconcile.StaleAttachments)
			}
			if e.Addresses || len(e.Gone) > 0 {
				changes.changed(e.Gone)
			}
			if e.Routes {
				loop.RequestSync("routes", reconcile.Soon, reconcile.Forwarding)
			}
			if e.Forwarding {
				loop.RequestSync("forwarding", reconcile.Urgent, reconcile.Forwarding)
			}
		})
	})
	run("signals", func(ctx context.Context) error {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hup:
				log.Info("SIGHUP: the configuration and all records are read again, and the whole table is compared", "configuration", o.config, "records", records.Dir())
				conf.read()
				if err := cache.Reload(); err != nil {
					return err
				}
				unread.notice()
				loop.RequestSync("signal", reconcile.Interactive, reconcile.Everything)
			}
		}
	})
	if flowLog != nil {
		run("NAT log", flowLog.Run)
	}
	run("systemd", func(ctx context.Context) error { return tellSystemd(ctx, loop, log) })
	log.Info("started", "version", buildVersion, "commit", buildCommit, "records", records.Dir())
	loop.Run(ctx)
	wg.Wait()
	log.Info("ended; the rules stay")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sayFeatures says what the kernel offers and what it lacks. The daemon goes on:
// what needs nothing of that works.
func sayFeatures(log *slog.Logger, rules *nft.Conn) (offered map[string]bool) {
	all, err := rules.Features()
	if err != nil {
		log.Warn("cannot ask the kernel what it offers", "err", err)
	}
	offered = map[string]bool{}
	var there, lacks []string
	for _, f := range all {
		if offered[f.Name] = f.Offered; f.Offered {
			there = append(there, f.Name)
			continue
		}
		lacks = append(lacks, f.Name)
		attrs := []any{"feature", f.Name, "needed for", f.For}
		if f.Module != "" {
			attrs = append(attrs, "mend", "modprobe "+f.Module)
		}
		log.Info("the kernel lacks a feature", attrs...)
	}
	log.Info("kernel", "offers", there, "lacks", lacks)
	return offered
}

// speaking are rules that say which helpers of the node's policy do not work, once
// for each policy.
type speaking struct {
	*nft.Conn
	node  func() reconcile.Node
	log   *slog.Logger
	asked *masq.Policy
}

func (s *speaking) SyncStructure(d nft.Desired) (nft.StructureResult, error) {
	r, err := s.Conn.SyncStructure(d)
	if p := s.node().Policy; err == nil && p != nil && p != s.asked {
		s.asked = p
		sayMissing(s.log, s.Conn, *p)
	}
	return r, err
}

// sayMissing says which helpers of the node's policy cannot translate. The daemon
// goes on: everything else of the policy works.
func sayMissing(log *slog.Logger, rules *nft.Conn, p masq.Policy) {
	if rules.HasNAT(p) {
		return
	}
	missing, err := rules.MissingHelpers(p)
	if err != nil {
		log.Warn("cannot ask the kernel for conntrack helpers", "err", err)
	}
	for _, m := range missing {
		log.Warn("the kernel does not translate what this helper reads", "helper", m.Helper, "module", m.Module, "mend", "modprobe "+m.Module)
	}
}

// linkFaults says what is wrong with links and cannot be repaired, as a reason of
// readiness.
func linkFaults(left []veth.Difference) []string {
	if len(left) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("links are not as ADD made them and cannot be repaired; differences: %d, the first: %s; see: masq-cni inspect drift", len(left), left[0])}
}

// openFlowLog opens the NAT log; nil where there is none.
func openFlowLog(ctx context.Context, o options, cache *reconcile.Cache, records *store.Records, node func() reconcile.Node, log *slog.Logger) (_ *flowlog.Logger, err error) {
	if !o.hasNATLog() {
		return nil, nil
	}
	out := flowlog.Options{
		Leases: leasehistory.New(leasehistory.Source{
			Snapshot: func() ([]*store.Record, uint64) { s := cache.Snapshot(); return s.Records, s.Version },
			Refresh:  cache.Refresh, Read: records.Get,
		}),
		Sources: func() []netip.Prefix { return node().Sources.Prefixes },
		Direct:  o.natLogDirect, Log: log,
	}
	if o.natLog != "" {
		if out.Writer, err = natlog.Open(o.natLog, o.natLogOptions); err != nil {
			return nil, fmt.Errorf("--nat-log: %w", err)
		}
	}
	if o.collector != (ipfix.Collector{}) {
		if out.Exporter, err = ipfix.Open(ctx, ipfix.Options{Collector: o.collector, Log: log}); err != nil {
			if out.Writer != nil {
				err = errors.Join(err, out.Writer.Close())
			}
			return nil, fmt.Errorf("--nat-log-ipfix: %w", err)
		}
	}
	return flowlog.Open(out)
}
