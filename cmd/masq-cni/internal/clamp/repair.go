package clamp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/sockets"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// Repair makes one sync of rules and links, as masqd does at its start, in the network
// namespace of the calling thread. The node's policy is the one that the last masqd wrote. The
// error is store.ErrLocked if a masqd is running: it makes its own syncs.
func Repair(ctx context.Context, stateDir string) (err error) {
	var closers []io.Closer
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c.Close())
		}
	}()
	records, err := store.Open(stateDir)
	if err != nil {
		return err
	}
	cache, err := reconcile.NewCache(records)
	if err != nil {
		return err
	}
	closers = append(closers, cache)
	lock, err := records.Lock()
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("%w, and repairs rules and links itself; if it does not, see its log and masq-cni inspect", store.ErrLocked)
	}
	if err != nil {
		return err
	}
	closers = append(closers, lock)
	config, previous, err := configOf(records)
	if err != nil {
		return err
	}
	rules, err := nft.Open()
	if err != nil {
		return err
	}
	closers = append(closers, rules)
	links, err := veth.Open()
	if err != nil {
		return err
	}
	closers = append(closers, links)
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	closers = append(closers, flows)
	boot, err := veth.BootID()
	if err != nil {
		return err
	}
	deps := reconcile.Deps{
		Records: cache,
		Node:    func() reconcile.NodeConfig { return config },
		Rules:   rules,
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
		Evidence:            store.Probes{HasLink: links.HasLink, Aliases: links.Aliases, NetNS: veth.NetNSState, Boot: boot},
		NetNSState:          veth.NodeNetNSState,
		ReloadConfiguration: func() {},
		CPUTime:             func() time.Duration { return 0 },
		ResyncInterval:      time.Minute, // there is no resync
		Log:                 slog.New(slog.DiscardHandler),
	}
	if previous != nil {
		deps.PreviousEgress = previous.SNATAddresses
	}
	loop, err := reconcile.New(deps)
	if err != nil {
		return err
	}
	return loop.Once(ctx)
}

// configOf returns the node's configuration as the last masqd wrote it, with the local MSS
// clamps. previous is nil if it has written none.
func configOf(records *store.Records) (config reconcile.NodeConfig, previous *store.Node, err error) {
	config.Version = 1
	if config.LocalMSSClamps, err = records.MSSClamps(); err != nil {
		return config, nil, err
	}
	previous, err = records.Node()
	if err != nil || previous == nil {
		return config, nil, err
	}
	policy := previous.Policy
	policy.Node = true
	config.Policy = &policy
	config.Sources = ruleset.Sources{Prefixes: previous.Sources, Policy: policy}
	return config, previous, nil
}
