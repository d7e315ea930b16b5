package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// tasks returns the tasks of an open daemon.
func (d *Daemon) tasks() []Task {
	links := &linkEvents{
		watch: d.linkEvents.Run, loop: d.loop,
		after: func(delay time.Duration, f func()) { time.AfterFunc(delay, f) },
	}
	tasks := []Task{
		{"sync", func(ctx context.Context) error { d.loop.Run(ctx); return nil }},
		{"records", d.watchRecords},
		{"unreadable records", d.bad.run},
		{"configuration", d.watchConfiguration},
		{"rules", d.watchRules},
		{"links", links.run},
		{"link check", d.linkCheck.run},
		{"doctor", d.findings.run},
		{"helpers", d.helpers.Run},
		{"signals", d.handleSignals},
		{"systemd", func(ctx context.Context) error { return notifySystemd(ctx, d.loop.Stats, d.log) }},
	}
	if d.flowLog != nil {
		tasks = append(tasks, Task{"NAT log", d.flowLog.Run})
	}
	if d.server != nil {
		tasks = append(tasks, Task{"HTTP", d.server.Serve})
	}
	return tasks
}

// watchRecords requests a sync when records change.
func (d *Daemon) watchRecords(ctx context.Context) error {
	return d.cache.Run(ctx, func(lost bool) {
		d.bad.cacheChanged()
		if lost {
			d.loop.EventsLost()
			return
		}
		d.loop.RequestSync("records", reconcile.Soon, reconcile.Changes)
	})
}

// watchConfiguration requests a sync when the active configuration changes.
func (d *Daemon) watchConfiguration(ctx context.Context) error {
	return d.conf.run(ctx, func() { d.loop.RequestSync("configuration", reconcile.Interactive, reconcile.Changes) })
}

// watchRules passes the transactions of other programs to the sync loop.
func (d *Daemon) watchRules(ctx context.Context) error {
	return d.ruleEvents.Run(ctx, func(t nft.Transaction, lost bool) {
		if lost {
			d.loop.EventsLost()
			return
		}
		d.loop.Transaction(t)
	})
}

// handleSignals reads the configuration and all records again on SIGHUP, and requests a
// full sync.
func (d *Daemon) handleSignals(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			d.log.Info("SIGHUP received: reading the configuration and all records, and comparing the whole table", "configuration", d.cfg.ConfigFiles, "records", d.records.Dir())
			d.conf.read()
			if err := d.cache.Reload(); err != nil {
				return err
			}
			d.bad.cacheChanged()
			d.loop.RequestSync("signal", reconcile.Interactive, reconcile.Everything)
		}
	}
}
