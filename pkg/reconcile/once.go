package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
)

// maxOnceSyncs bounds the number of syncs of Once. A conflict with another program requires
// another sync.
const maxOnceSyncs = 5

// Once makes one sync of everything, as Run does at its start, and returns when the node is in
// the desired state. It is for a program that repairs the node without masqd: the caller holds
// the lock of the records, and does not call Run.
func (l *Loop) Once(ctx context.Context) error {
	l.RequestSync("start", Urgent, Everything)
	for range maxOnceSyncs {
		now := time.Now()
		l.sync(ctx, now, l.takeRequest(now))
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.isRequested() {
			return nil
		}
	}
	if problem := l.Stats().Problem; problem != "" {
		return errors.New(problem)
	}
	return fmt.Errorf("after %d syncs: %w", maxOnceSyncs, nft.ErrConflict)
}

// isRequested reports whether a sync is requested, as after a failure or a conflict.
func (l *Loop) isRequested() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending != request{}
}
