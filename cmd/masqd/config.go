package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/pflag"

	"github.com/masq-cni/masq-cni/pkg/agentconf"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// configuration is the node's, as it was last read well.
type configuration struct {
	pattern string
	sources []netip.Prefix // of the command line, instead of the file's
	legacy  []override
	// fixedResync says that the command line gives the interval.
	fixedResync bool
	records     *store.Records
	log         *slog.Logger

	mu    sync.Mutex
	state reconcile.Node
	fault string // of the last reading; empty where it was good
}

// override is a flag of ip-masq-agent that was given.
type override struct {
	agentconf.Legacy
	value string
}

// legacyFlags declares the flags of ip-masq-agent, but for those that have the
// same name and meaning here.
func legacyFlags(flags *pflag.FlagSet) func() []override {
	all := agentconf.LegacyFlags()
	values := make([]string, len(all))
	for i, l := range all {
		if flags.Lookup(l.Name) != nil {
			continue
		}
		flags.StringVar(&values[i], l.Name, "", l.Usage)
		if l.Bool {
			flags.Lookup(l.Name).NoOptDefVal = "true"
		}
	}
	return func() []override {
		var out []override
		for i, l := range all {
			if f := flags.Lookup(l.Name); f != nil && f.Changed && f.Value.String() == values[i] {
				out = append(out, override{l, values[i]})
			}
		}
		return out
	}
}

// read reads the files. What is faulty is said once, and changes nothing.
func (c *configuration) read() {
	node, names, err := agentconf.Load(c.pattern)
	for _, o := range c.legacy {
		if err == nil {
			if err = o.Apply(&node, o.value); err != nil {
				err = fmt.Errorf("--%s: %w", o.Name, err)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if text := err.Error(); text != c.fault {
			c.fault = text
			c.log.Error("the configuration is faulty; the last good one stays", "files", c.pattern, "err", err)
		}
		c.state.Fault = c.fault
		if c.state.Read.IsZero() && c.state.Policy == nil {
			// Nothing good was read yet; an earlier masqd may have.
			if c.state.Policy, err = c.records.Node(); err != nil {
				c.log.Error("the policy of an earlier masqd cannot be read", "err", err)
			}
		}
		return
	}
	if len(c.sources) > 0 {
		node.SourceCIDRs = c.sources
	}
	c.fault = ""
	fresh := reconcile.Node{Read: time.Now(), Resync: node.ResyncInterval}
	if c.fixedResync {
		fresh.Resync = 0
	}
	if len(names) > 0 || len(node.SourceCIDRs) > 0 || len(c.legacy) > 0 {
		node.Policy.Node = true
		fresh.Policy = &node.Policy
		fresh.Sources = ruleset.Sources{Prefixes: node.SourceCIDRs, Policy: node.Policy}
	}
	if fresh.Same(c.state) && c.state.Fault == "" {
		c.state.Read = fresh.Read
		return
	}
	c.state = fresh
	if err := c.records.PutNode(fresh.Policy); err != nil {
		c.log.Error("an ADD will not know the node's policy", "err", err)
	}
	c.log.Info("configuration read", "files", names)
}

// node is the configuration in force.
func (c *configuration) node() reconcile.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// run reads again when the files change. A ConfigMap is a link into a directory
// that is swapped, so the directory is followed and not the file.
func (c *configuration) run(ctx context.Context, changed func()) error {
	dir := filepath.Dir(c.pattern)
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow the configuration: %w", err)
	}
	defer func() { _ = w.Close() }()
	if err := w.Add(dir); err != nil {
		// The resync reads it, if it ever comes to be.
		c.log.Warn("the configuration's directory is not there; it is looked for at each resync", "directory", dir)
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("follow the configuration: the watch has ended")
			}
			c.read()
			changed()
		case err, ok := <-w.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow the configuration: %w", err)
			}
			c.read()
			changed()
		}
	}
}

// parseSources reads --source-cidrs.
func parseSources(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		switch {
		case err != nil:
			return nil, fmt.Errorf("--source-cidrs: %q is not a prefix such as 10.244.0.0/16", s)
		case p != p.Masked():
			return nil, fmt.Errorf("--source-cidrs: %q has host bits; %s is meant", s, p.Masked())
		case !slices.Contains(out, p):
			out = append(out, p)
		}
	}
	return out, nil
}
