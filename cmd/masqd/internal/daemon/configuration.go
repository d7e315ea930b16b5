package daemon

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// configuration is the active configuration of the node. An invalid file does not change it.
type configuration struct {
	files       string // Config.ConfigFiles
	sources     []netip.Prefix
	overrides   []Override
	resyncGiven bool
	records     *store.Records
	log         *slog.Logger
	// faultChanged is called when the fault changes; an empty string means no fault.
	faultChanged func(string)

	// previous is the configuration that the previous masqd wrote; nil: none.
	previous *store.Node
	watcher  *fsnotify.Watcher

	mu    sync.Mutex // of the following fields
	state reconcile.NodeConfig
	// watchFailed, unwritten and the logged texts prevent repeated messages.
	// unwritten reports that the policy on disk is not the active one.
	watchFailed, unwritten      bool
	loggedFault, loggedWarnings string
	loggedClamps                string
}

// openConfiguration returns a configuration. Its files are not read yet.
func openConfiguration(c *Config, records *store.Records, log *slog.Logger, faultChanged func(string)) (*configuration, error) {
	previous, err := records.Node()
	if err != nil {
		log.Error("policy of the previous masqd cannot be read, and is ignored", "err", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the configuration: %w", err)
	}
	return &configuration{
		files: c.ConfigFiles, sources: c.Sources, overrides: c.Overrides, resyncGiven: c.ResyncGiven,
		records: records, log: log, faultChanged: faultChanged, previous: previous, watcher: watcher,
	}, nil
}

// active returns the active configuration.
func (c *configuration) active() reconcile.NodeConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// read reads the files, and reports whether the active configuration has changed. A fault
// is logged when it changes.
func (c *configuration) read() (changed bool) {
	c.watch()
	node, files, err := nodeconf.Load(c.files)
	for _, o := range c.overrides {
		if err == nil {
			if err = o.Apply(&node, o.Value); err != nil {
				err = fmt.Errorf("--%s: %w", o.Name, err)
			}
		}
	}
	clamps, errClamps := c.records.MSSClamps()
	c.mu.Lock()
	defer c.mu.Unlock()
	clamps = c.checkClamps(clamps, errClamps)
	before := c.state.Fault
	defer func() {
		if c.faultChanged != nil && c.state.Fault != before {
			c.faultChanged(c.state.Fault)
		}
	}()
	if err != nil {
		c.reject(err)
		if maps.Equal(clamps, c.state.LocalMSSClamps) {
			return false
		}
		c.state.LocalMSSClamps, c.state.Sources.Policy.LocalMSSClamps = clamps, clamps
		c.state.Version++
		return true
	}
	if len(c.sources) > 0 {
		node.SourceCIDRs = c.sources
	}
	c.loggedFault = ""
	if text := node.Warnings.Error(); text != c.loggedWarnings {
		c.loggedWarnings = text
		for _, w := range node.Warnings {
			c.log.Warn("configuration files disagree", "warning", w.Error())
		}
	}
	latest := reconcile.NodeConfig{Read: time.Now(), Resync: node.ResyncInterval, LocalMSSClamps: clamps}
	node.Policy.LocalMSSClamps = clamps
	if c.resyncGiven {
		latest.Resync = 0
	}
	if len(files) > 0 || len(node.SourceCIDRs) > 0 || len(c.overrides) > 0 {
		node.Policy.Node = true
		latest.Policy = &node.Policy
		latest.Sources = ruleset.Sources{Prefixes: node.SourceCIDRs, Policy: node.Policy}
	}
	if latest.Same(c.state) && c.state.Fault == "" {
		c.state.Read = latest.Read
		if c.unwritten {
			c.write(latest)
		}
		return false
	}
	latest.Version = c.state.Version + 1
	c.state = latest
	c.write(latest)
	c.log.Info("configuration read", "files", files, "localMSSClamps", len(clamps))
	return true
}

// checkClamps returns the local MSS clamps to apply. If they cannot be read, these are the
// last ones.
func (c *configuration) checkClamps(clamps masq.MSSClamps, err error) masq.MSSClamps {
	text := ""
	if err != nil {
		text, clamps = err.Error(), c.state.LocalMSSClamps
	}
	if text != c.loggedClamps && text != "" {
		c.log.Error("local MSS clamps cannot be read; the last ones apply", "err", err)
	}
	c.loggedClamps = text
	return clamps
}

// reject stores and logs the fault of files that cannot be used.
func (c *configuration) reject(err error) {
	neverRead := c.state.Read.IsZero()
	if neverRead && c.state.Policy == nil {
		c.state.Policy, c.state.Sources = c.fallback()
	}
	if text := err.Error(); text != c.loggedFault {
		c.loggedFault = text
		active := "last valid configuration"
		switch {
		case neverRead && c.previous != nil:
			active = "configuration of the previous masqd"
		case neverRead:
			active = "defaults"
		}
		c.log.Error("configuration is invalid", "files", c.files, "err", err, "active", active)
	}
	c.state.Fault = c.loggedFault
}

// fallback returns the policy and the sources that are active until a valid configuration is
// read. They come from the configuration of the previous masqd or from the command line.
func (c *configuration) fallback() (*masq.Policy, ruleset.Sources) {
	node := nodeconf.Default()
	switch {
	case c.previous != nil:
		node.Policy, node.SourceCIDRs = c.previous.Policy, c.previous.Sources
	case len(c.sources) > 0 || len(c.overrides) > 0:
		for _, o := range c.overrides {
			_ = o.Apply(&node, o.Value) // Config.Validate has returned the error
		}
		node.Policy.Node = true
	default:
		return nil, ruleset.Sources{}
	}
	if len(c.sources) > 0 {
		node.SourceCIDRs = c.sources
	}
	return &node.Policy, ruleset.Sources{Prefixes: node.SourceCIDRs, Policy: node.Policy}
}

// write writes the policy to the state directory, where ADD reads it. If that fails, the
// next reading writes it again: at a resync at the latest.
func (c *configuration) write(n reconcile.NodeConfig) {
	var node *store.Node
	if n.Policy != nil {
		node = &store.Node{Policy: *n.Policy, Sources: n.Sources.Prefixes}
	}
	err := c.records.PutNode(node)
	if err != nil && !c.unwritten {
		c.log.Error("write of the node's policy failed: ADD uses an older one until a resync writes it", "err", err)
	}
	if err == nil && c.unwritten {
		c.log.Info("node's policy written")
	}
	c.unwritten = err != nil
}
