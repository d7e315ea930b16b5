package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/helpers"
	"github.com/masq-cni/masq-cni/pkg/flowlog"
	"github.com/masq-cni/masq-cni/pkg/flowstats"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// Daemon has the parts of masqd that its tasks share.
type Daemon struct {
	cfg     *Config
	log     *slog.Logger
	closers []func() error // called in reverse order

	records   *store.Records
	cache     *reconcile.Cache
	lock      *store.Lock
	rules     *nft.Conn    // for the sync loop
	queries   *lockedRules // for all other tasks
	links     *veth.Conn
	conf      *configuration
	loop      *reconcile.Loop
	bad       *badRecords
	linkCheck *linkCheck
	findings  *findings
	sampler   *flowstats.Sampler
	helpers   *helpers.Helpers
	flowLog   *flowlog.Logger  // nil: no NAT log
	server    *endpoint.Server // nil: no addresses
	features  map[string]bool
	boot      string // boot ID; empty if unknown

	ruleEvents *nft.Watcher
	linkEvents *veth.Watcher
}

// Run opens the daemon, and runs its tasks until the context ends or a task fails.
func Run(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	limitMemory()
	// The context has to end before the sampler is closed, which waits for a running sample.
	ctx, cancel := context.WithCancel(ctx)
	d := &Daemon{cfg: c, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	defer cancel()
	if err := d.open(ctx); err != nil {
		return err
	}
	log.Info("started", "version", c.Version, "commit", c.Commit, "records", d.records.Dir())
	err = runTasks(ctx, d.tasks())
	log.Info("ended; the rules stay")
	return err
}

// open opens everything that needs the kernel or a file. Watchers come before the state
// that they watch is read, so that no change is missed.
func (d *Daemon) open(ctx context.Context) error {
	for _, open := range []func(context.Context) error{
		d.openRecords, d.openRules, d.openConfiguration, d.openLinks, d.openHelpers, d.openLoop,
		d.openFlowLog, d.openSampler, d.openBadRecords, d.openEndpoint,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// onClose registers a function for close.
func (d *Daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

func (d *Daemon) close() error {
	var errs []error
	for _, f := range slices.Backward(d.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// publish changes what the lock file tells other programs about masqd.
func (d *Daemon) publish(change func(*store.Daemon)) {
	if err := d.lock.Publish(change); err != nil {
		d.log.Warn("state of masqd cannot be written: masq-cni inspect does not see it", "err", err)
	}
}
