package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/endpoint"
	"github.com/masq-cni/masq-cni/cmd/masqd/internal/helpers"
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

func (d *Daemon) openRecords(context.Context) (err error) {
	if d.records, err = store.Open(d.cfg.StateDir); err != nil {
		return err
	}
	if d.cache, err = reconcile.NewCache(d.records); err != nil {
		return fmt.Errorf("--state-dir %q: %w", d.cfg.StateDir, err)
	}
	d.lock, err = d.records.Lock()
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("%w on %s; stop it first, or give this one another --state-dir", store.ErrLocked, d.records.Dir())
	}
	if err != nil {
		return err
	}
	d.onClose(d.lock.Close)
	d.publish(func(s *store.Daemon) { s.HasRun = true })
	return d.records.MarkNATLog(d.cfg.hasNATLog())
}

func (d *Daemon) openRules(context.Context) (err error) {
	if d.rules, err = nft.Open(); err != nil {
		return err
	}
	d.onClose(d.rules.Close)
	if d.ruleEvents, err = d.rules.Watch(); err != nil {
		return err
	}
	d.features = logFeatures(d.log, d.rules)
	// The connection of the sync loop is for one goroutine.
	if d.queries, err = openLockedRules(); err != nil {
		return err
	}
	d.onClose(d.queries.close)
	return nil
}

func (d *Daemon) openConfiguration(context.Context) (err error) {
	d.conf, err = openConfiguration(d.cfg, d.records, d.log, func(fault string) {
		d.publish(func(s *store.Daemon) { s.Configuration, s.ConfigurationFault = d.cfg.ConfigFiles, fault })
	})
	if err != nil {
		return err
	}
	d.conf.read()
	return nil
}

func (d *Daemon) openLinks(context.Context) (err error) {
	if d.links, err = veth.Open(); err != nil {
		return err
	}
	d.onClose(d.links.Close)
	if d.linkEvents, err = d.links.Watch(); err != nil {
		return err
	}
	if d.boot, err = veth.BootID(); err != nil {
		d.log.Warn("boot ID cannot be read: records of an earlier boot are treated as present ones", "err", err)
	}
	return nil
}

func (d *Daemon) openHelpers(context.Context) (err error) {
	d.helpers, err = helpers.New(helpers.Options{
		Records: d.cache, Node: d.conf.active, Uplinks: d.links.Uplinks, Sockets: sockets.List,
		Serving: func(names []string) { d.publish(func(s *store.Daemon) { s.Helpers = names }) }, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.helpers.CloseKernel)
	return nil
}

func (d *Daemon) openLoop(context.Context) error {
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	d.onClose(flows.Close)
	deps := reconcile.Deps{
		Records:             d.cache,
		Node:                d.conf.active,
		Rules:               &helperReporter{Conn: d.rules, node: d.conf.active, log: d.log},
		Host:                d.links,
		ServicePorts:        d.servicePorts,
		DeleteFlows:         flows.DeleteMatching,
		Evidence:            store.Probes{HasLink: d.links.HasLink, Aliases: d.links.Aliases, NetNS: veth.NetNSState, Boot: d.boot},
		NetNSState:          veth.NodeNetNSState,
		ReloadConfiguration: func() { d.conf.read() },
		CPUTime:             processorTime,
		ResyncInterval:      d.cfg.Resync,
		CleanupGrace:        d.cfg.CleanupGrace,
		Synced:              d.helpers.Synced,
		Log:                 d.log,
	}
	if d.conf.previous != nil {
		deps.PreviousEgress = d.conf.previous.SNATAddresses
	}
	d.loop, err = reconcile.New(deps)
	return err
}

// servicePorts returns the ports of the node's services and published ports, which flows
// must not use. chosen are the ports of policies.
func (d *Daemon) servicePorts(chosen []masq.PortRange) ([]masq.PortRange, error) {
	ports, err := sockets.Services(chosen)
	if err != nil {
		return nil, err
	}
	published, err := d.rules.Published()
	return append(ports, published...), err
}

func (d *Daemon) openFlowLog(ctx context.Context) (err error) {
	c := d.cfg
	if !c.hasNATLog() {
		return nil
	}
	o := flowlog.Options{
		Leases: leasehistory.New(leasehistory.Source{
			Snapshot: func() ([]*store.Record, uint64) { s := d.cache.Snapshot(); return s.Records, s.Version },
			Refresh:  d.cache.Refresh, Read: d.records.Get,
		}),
		Sources: func() []netip.Prefix { return d.conf.active().Sources.Prefixes },
		Direct:  c.NATLogDirect, Proxied: d.helpers.ClientOf, Log: d.log,
	}
	if c.NATLog != "" {
		if o.Writer, err = natlog.Open(c.NATLog, c.NATLogOptions); err != nil {
			return fmt.Errorf("--nat-log: %w", err)
		}
	}
	if c.Collector != (ipfix.Collector{}) {
		if o.Exporter, err = ipfix.Open(ctx, ipfix.Options{Collector: c.Collector, Log: d.log}); err != nil {
			if o.Writer != nil {
				err = errors.Join(err, o.Writer.Close())
			}
			return fmt.Errorf("--nat-log-ipfix: %w", err)
		}
	}
	if d.flowLog, err = flowlog.Open(o); err != nil {
		return err
	}
	d.onClose(d.flowLog.Close)
	return nil
}

func (d *Daemon) openSampler(ctx context.Context) (err error) {
	d.sampler, err = flowstats.Open(ctx, flowstats.Options{
		Records: d.records.All, CachedRecords: d.cachedRecords, ReadRecord: d.records.Get,
		Pools: func() *portpool.Pools {
			node := d.conf.active()
			return portpool.PoolsOf(node.Attachments(d.cachedRecords()), node.Sources.Prefixes, node.Sources.Policy)
		},
		MaxAttachments: d.cfg.AttachmentMetrics, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.sampler.Close)
	return nil
}

func (d *Daemon) cachedRecords() []*store.Record { return d.cache.Snapshot().Records }

func (d *Daemon) openBadRecords(context.Context) error {
	rebuilder, err := reconcile.NewRebuilder(reconcile.RebuildDeps{
		Records: d.cache, Node: d.conf.active, Attached: d.queries.Attached, DirectRanges: d.queries.DirectRanges,
		Describe: d.links.Describe, Boot: d.boot, NodeNetNS: veth.OwnNetNS(), Log: d.log,
	})
	if err != nil {
		return err
	}
	d.bad = &badRecords{
		cache: d.cache, records: d.records, rebuilder: rebuilder, log: d.log, wake: make(chan struct{}, 1),
		changed: func() { d.loop.RequestSync("records", reconcile.Soon, reconcile.Changes) },
	}
	d.bad.pass() // before the first sync finds rules of attachments without a readable record
	return nil
}

func (d *Daemon) openEndpoint(ctx context.Context) error {
	d.linkCheck = &linkCheck{
		links: d.links, unrepaired: d.loop.UnrepairedLinks, requests: make(chan struct{}, 1),
		cached: d.cachedRecords, read: d.records.Get,
		synced:        func() bool { return !d.loop.Stats().LastSync.IsZero() },
		requestRepair: func() { d.loop.RequestSync("links", reconcile.Soon, reconcile.AllLinks|reconcile.Forwarding) },
	}
	d.findings = &findings{
		interval: d.cfg.DoctorInterval, cached: d.cachedRecords, read: d.records.Get,
		check: checkNode(d.cfg.StateDir), log: d.log,
	}
	registry := metrics.New(d.metricSources(ctx))
	listeners, err := listen(d.cfg, d.log, d.publish)
	if err != nil || listeners.Len() == 0 {
		return err
	}
	d.server = endpoint.New(endpoint.Options{
		Registry: registry, Profile: d.cfg.Profile, WebConfig: d.cfg.WebConfig, Log: d.log,
		Readiness: func() (any, bool) { r := d.readiness(ctx); return r, r.Ready },
	}, listeners, endpoint.Connections(listeners.Len()))
	return nil
}
