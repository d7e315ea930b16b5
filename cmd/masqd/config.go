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

	"github.com/masq-cni/masq-cni/cmd/internal/flaggroup"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nodeconf"
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
	// earlier is what a masqd before this one read; nil where there was none.
	earlier *store.Node
	watcher *fsnotify.Watcher
	missing bool // the directory, as was said
	// unwritten says that the policy on disk is not the one that applies.
	unwritten bool
	log       *slog.Logger
	// faulty is called with the fault whenever it changes; an empty string means no fault.
	faulty func(string)

	mu    sync.Mutex
	state reconcile.Node
	// Of the last reading, as far as it was said: what was wrong, and what gave way.
	fault, warned string
}

// override is a flag of ip-masq-agent that was given.
type override struct {
	nodeconf.Legacy
	value string
}

// legacyFlags declares the flags of ip-masq-agent, but for those that have the
// same name and meaning here.
func legacyFlags(flags *pflag.FlagSet) func() []override {
	all := nodeconf.LegacyFlags()
	values := make([]string, len(all))
	for i, l := range all {
		if flags.Lookup(l.Name) != nil {
			continue
		}
		short := ""
		if len(l.Name) == 1 { // -v=2, as glog has it
			short = l.Name
		}
		flags.StringVarP(&values[i], l.Name, short, "", l.Usage)
		group := "Flags of ip-masq-agent"
		if l.NoEffect {
			group = "Flags of ip-masq-agent that have no effect here"
		}
		flaggroup.Put(flags.Lookup(l.Name), group)
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

// read reads the files, and reports whether they ask for something else than before.
// What is faulty is said once, and changes nothing.
func (c *configuration) read() bool {
	c.follow()
	node, names, err := nodeconf.Load(c.pattern)
	for _, o := range c.legacy {
		if err == nil {
			if err = o.Apply(&node, o.value); err != nil {
				err = fmt.Errorf("--%s: %w", o.Name, err)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Fault
	defer func() {
		if c.faulty != nil && c.state.Fault != before {
			c.faulty(c.state.Fault)
		}
	}()
	if err != nil {
		if c.state.Read.IsZero() && c.state.Policy == nil {
			c.state.Policy, c.state.Sources = c.fallback()
		}
		if text := err.Error(); text != c.fault {
			c.fault = text
			inForce := "the last good one"
			switch {
			case !c.state.Read.IsZero():
			case c.earlier != nil:
				inForce = "what an earlier masqd read"
			default:
				inForce = "the defaults"
			}
			c.log.Error("the configuration is faulty", "files", c.pattern, "err", err, "in force", inForce)
		}
		c.state.Fault = c.fault
		return false
	}
	if len(c.sources) > 0 {
		node.SourceCIDRs = c.sources
	}
	c.fault = ""
	if text := node.Warnings.Error(); text != c.warned {
		c.warned = text
		for _, w := range node.Warnings {
			c.log.Warn("the configuration's files disagree", "warning", w.Error())
		}
	}
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
		if c.unwritten {
			c.keep(fresh)
		}
		return false
	}
	fresh.Version = c.state.Version + 1
	c.state = fresh
	c.keep(fresh)
	c.log.Info("configuration read", "files", names)
	return true
}

// keep writes the policy for the plugin. One that cannot be written is written at the
// next reading: at a resync at the latest.
func (c *configuration) keep(n reconcile.Node) {
	var kept *store.Node
	if n.Policy != nil {
		kept = &store.Node{Policy: *n.Policy, Sources: n.Sources.Prefixes}
	}
	err := c.records.PutNode(kept)
	if err != nil && !c.unwritten {
		c.log.Error("the node's policy cannot be written, so ADD does not know it; masqd tries again at each resync", "err", err)
	}
	if err == nil && c.unwritten {
		c.log.Info("the node's policy is written")
	}
	c.unwritten = err != nil
}

// fallback is what is in force while nothing good was read: what an earlier masqd
// read, or what would be without a file.
func (c *configuration) fallback() (*masq.Policy, ruleset.Sources) {
	node := nodeconf.Default()
	switch {
	case c.earlier != nil:
		node.Policy, node.SourceCIDRs = c.earlier.Policy, c.earlier.Sources
	case len(c.sources) > 0 || len(c.legacy) > 0:
		for _, o := range c.legacy {
			_ = o.Apply(&node, o.value) // was tried on the same at the start
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

// node is the configuration in force.
func (c *configuration) node() reconcile.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// follow begins to hear of changes of the files, where it does not yet: before they
// are read, so that none is missed. A ConfigMap is a link into a directory that is
// swapped, so the directory is followed and not the file.
func (c *configuration) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watcher.WatchList()) > 0 {
		return
	}
	dir := filepath.Dir(c.pattern)
	err := c.watcher.Add(dir)
	if err != nil && !c.missing {
		c.log.Warn("the configuration's directory is not there; it is looked for at each resync", "directory", dir)
	}
	c.missing = err != nil
}

const (
	// lull is for how long nothing has to happen to files before they are read, and
	// unrest the time after which they are read all the same.
	lull   = 5 * time.Millisecond
	unrest = 40 * time.Millisecond
)

// unread is since when files have changed that were not read since; zero where none
// have. A file that is not renamed into place is empty, and then in part, before it is
// whole, and each of these may be a good configuration.
type unread time.Time

// wait is how long to wait for another change after one.
func (u *unread) wait(now time.Time) time.Duration {
	if time.Time(*u).IsZero() {
		*u = unread(now)
	}
	return min(lull, time.Time(*u).Add(unrest).Sub(now))
}

// run reads again when the files change.
func (c *configuration) run(ctx context.Context, changed func()) error {
	w := c.watcher
	defer func() { _ = w.Close() }()
	var due <-chan time.Time // nil where nothing is to be read
	var changes unread
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("follow the configuration: the watch has ended")
			}
		case err, ok := <-w.Errors:
			if !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow the configuration: %w", err)
			}
		case <-due:
			due, changes = nil, unread{}
			if c.read() {
				changed()
			}
			continue
		}
		due = time.After(changes.wait(time.Now()))
	}
}

// parseSources reads --source-cidrs.
func parseSources(list []string) ([]netip.Prefix, error) {
	var (
		out  []netip.Prefix
		errs []error
	)
	for _, s := range list {
		p, bad := masq.ParsePrefix(strings.TrimSpace(s))
		switch {
		case bad != nil:
			errs = append(errs, fmt.Errorf("--source-cidrs: %s: %s", masq.Quote(s), bad))
		case !slices.Contains(out, p):
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}
