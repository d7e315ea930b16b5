package clamp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

const (
	// applyTimeout is how long a running masqd may take to apply a change. On a large node a
	// sync takes some 100 ms.
	applyTimeout = 30 * time.Second
	// applyPoll is the pause between two comparisons of the rules.
	applyPoll = 20 * time.Millisecond
)

// Set adds a local MSS clamp, or changes it, in the network namespace of the calling thread.
// It returns when the rules have it. The running masqd of the node changes them; without one,
// Set does.
func Set(ctx context.Context, stateDir string, p netip.Prefix, mss int) error {
	c, err := masq.ClampTo(mss)
	if err != nil {
		return err
	}
	return change(ctx, stateDir, func(all masq.MSSClamps) error {
		all[p] = uint16(c.Bytes())
		return nil
	})
}

// remove deletes a local MSS clamp as Set adds one.
func remove(ctx context.Context, stateDir string, p netip.Prefix) error {
	return change(ctx, stateDir, func(all masq.MSSClamps) error {
		if _, found := all[p]; !found {
			return fmt.Errorf("%s has no local MSS clamp; masq-cni clamp list shows all", p)
		}
		delete(all, p)
		return nil
	})
}

func change(ctx context.Context, stateDir string, f func(masq.MSSClamps) error) error {
	records, err := store.Open(stateDir)
	if err != nil {
		return err
	}
	if err := records.UpdateMSSClamps(f); err != nil {
		return err
	}
	err = Repair(ctx, stateDir)
	if !errors.Is(err, store.ErrLocked) {
		return err
	}
	return await(ctx, stateDir)
}

// await waits until masqd has applied the local MSS clamps.
func await(ctx context.Context, stateDir string) error {
	for deadline := time.Now().Add(applyTimeout); ; {
		left, err := unapplied(stateDir)
		switch {
		case err != nil:
			return err
		case left == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the change is saved, but masqd has not applied it within %s (differences: %d); see its log, and masq-cni inspect", applyTimeout, left)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(applyPoll):
		}
	}
}

// unapplied returns the number of differences between the local MSS clamps and the rules.
func unapplied(stateDir string) (left int, err error) {
	s, err := (&node.Node{StateDir: stateDir}).SnapshotWithoutNote()
	if err != nil {
		return 0, err
	}
	d := s.Desired()
	all, err := node.QueryRules(func(c *nft.Conn) ([]nft.Difference, error) { return c.Drift(d.Table, d.Pending) })
	for _, x := range all {
		if concernsClamps(x) {
			left++
		}
	}
	return left, err
}

// concernsClamps reports whether a difference may be one of MSS clamps by destination.
func concernsClamps(d nft.Difference) bool {
	name := d.Object
	switch d.Kind {
	case nft.KindTable:
		return true
	case nft.KindRule:
		return d.Parent == ruleset.ClampChain
	case nft.KindElement:
		name = d.Parent
	}
	n, _ := ruleset.ParseSetName(name)
	return n.Kind == ruleset.MSSMap || n.Kind == ruleset.AttachedSet
}
