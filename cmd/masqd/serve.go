package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/metrics"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/wire"
)

// serve wires the daemon and runs it until the context ends.
func serve(ctx context.Context, o options, log *slog.Logger) (err error) {
	records, err := store.Open(o.stateDir)
	if err != nil {
		return err
	}
	cache, err := reconcile.NewCache(records)
	if err != nil {
		return err
	}
	unlock, err := alone(records.Dir())
	if err != nil {
		return err
	}
	defer unlock()
	rules, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rules.Close() }()
	news, err := rules.Watch()
	if err != nil {
		return err
	}
	conf := &configuration{pattern: o.config, sources: o.sources, legacy: o.legacy, fixedResync: o.resyncGiven, records: records, log: log}
	conf.read()
	links, err := wire.Open()
	if err != nil {
		return err
	}
	defer func() { _ = links.Close() }()
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = flows.Close() }()
	var asked *masq.Policy // the node's policy whose helpers were looked for
	loop := &reconcile.Loop{
		Records: cache.All,
		Node:    conf.node,
		Apply: func(want, beside ruleset.Table) ([]nft.Change, error) {
			changes, err := rules.ApplyBeside(want, beside)
			if p := conf.node().Policy; err == nil && p != nil && p != asked {
				asked = p
				sayMissing(log, rules, *p)
			}
			return changes, err
		},
		Forget: reconcile.Gap{Local: links.HasAddress, Delete: flows.DeleteMatching}.Forget,
		Reload: func() error {
			conf.read()
			return cache.Reload()
		},
		Sweep:  &reconcile.Sweep{Exists: links.Exists, Delete: records.Delete, Grace: o.grace, Log: log},
		Resync: o.resync,
		Log:    log,
	}
	// A connection of its own: the loop's is not for several goroutines.
	asking, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() { _ = asking.Close() }()
	registry := metrics.New(metrics.Facts{
		Values: func() metrics.Values { return values(loop.Stats(), conf.node()) }, Generation: serialized(asking.Generation), Version: buildVersion, Commit: buildCommit,
	})

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
	if o.listen != "" {
		l, err := net.Listen("tcp", o.listen)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		log.Info("listening", "address", l.Addr().String())
		run("http", func(ctx context.Context) error {
			return serveHTTP(ctx, l, registry, func() readiness { return ready(loop.Stats(), conf.node()) }, o.pprof)
		})
	}
	run("records", func(ctx context.Context) error {
		return cache.Run(ctx, func(lost bool) {
			if lost {
				loop.Lost()
				return
			}
			loop.Look("records")
		})
	})
	run("configuration", func(ctx context.Context) error {
		return conf.run(ctx, func() { loop.Look("configuration") })
	})
	run("rules", func(ctx context.Context) error {
		return news.Run(ctx, func(e nft.Event) {
			if e.Lost {
				loop.Lost()
				return
			}
			loop.Look("rules")
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
				conf.read()
				if err := cache.Reload(); err != nil {
					return err
				}
				loop.Look("signal")
			}
		}
	})
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

// values is what the daemon counts, for metrics.
func values(s reconcile.Stats, n reconcile.Node) metrics.Values {
	return metrics.Values{
		Looks: s.Looks, Repairs: s.Repairs, Failures: s.Failures, Storms: s.Storms, Gap: s.Gap,
		Swept: s.Swept, Lost: s.Lost, Drift: s.Drift, Attachments: s.Attachments, Policies: s.Policies,
		RepairSeconds: s.RepairSeconds, LastRepair: s.LastRepair, LastLook: s.LastLook,
		ConfigRead: n.Read, ConfigValid: n.Fault == "",
	}
}

// alone makes sure that no other masqd works on the records: two that disagree
// would undo each other's work for ever.
func alone(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "masqd.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the records: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another masqd is at work on %s; end it first, or give this one another --state-dir", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// serialized lets several goroutines call f.
func serialized(f func() (uint32, error)) func() (uint32, error) {
	var mu sync.Mutex
	return func() (uint32, error) {
		mu.Lock()
		defer mu.Unlock()
		return f()
	}
}
