package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// Unreadable records are read again after minRetry. The time doubles with each attempt, up
// to maxRetry.
const (
	minRetry = time.Second
	maxRetry = 30 * time.Second
)

// badRecords reads unreadable records again, has damaged ones rebuilt, and reports what
// remains.
type badRecords struct {
	cache     *reconcile.Cache
	records   *store.Records
	rebuilder *reconcile.Rebuilder
	// changed is called when unreadable records have become readable.
	changed func()
	log     *slog.Logger
	wake    chan struct{} // has room for one

	mu         sync.Mutex
	unreadable []reconcile.UnreadableRecord
	replaced   []string // damaged files that were kept when their record was rebuilt
	rebuilt    int
}

// cacheChanged requests a pass if there are, or were, unreadable or damaged records.
func (b *badRecords) cacheChanged() {
	if unreadable, _ := b.counts(); !b.cache.HasUnreadable() && unreadable == 0 && len(b.notes()) == 0 {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default: // a pass is already requested
	}
}

func (b *badRecords) run(ctx context.Context) error {
	wait := minRetry
	for {
		var retry <-chan time.Time
		if unreadable, _ := b.counts(); unreadable > 0 {
			retry = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
			wait = minRetry
		case <-retry:
			wait = min(2*wait, maxRetry)
		}
		b.pass()
	}
}

// pass reads the unreadable records again, and has damaged records rebuilt.
func (b *badRecords) pass() {
	changed := b.cache.Retry()
	rebuilt := b.rebuilder.Run()
	if rebuilt > 0 {
		changed = b.cache.Retry() || changed
	}
	replaced, err := b.records.Damaged()
	if err != nil {
		b.log.Error("list of damaged records failed", "err", err)
	}
	b.mu.Lock()
	b.unreadable, b.replaced, b.rebuilt = b.cache.Unreadable(), replaced, b.rebuilt+rebuilt
	b.mu.Unlock()
	if changed {
		b.changed()
	}
}

// notes describes the unreadable records, and the damaged records that were rebuilt. The
// attachments of both keep their rules, so masqd stays ready.
func (b *badRecords) notes() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.unreadable {
		remedy := "correct the fault; masqd reads the file again within half a minute"
		if x.Damaged {
			remedy = "delete its container, or restore the file"
		}
		out = append(out, fmt.Sprintf("record cannot be read: %v: the rules of its attachment are kept; %s", x.ReadError, remedy))
	}
	for _, path := range b.replaced {
		out = append(out, fmt.Sprintf("record %s.json was damaged and was rebuilt; inspect %s, then delete it", strings.TrimSuffix(path, ".bad"), path))
	}
	return out
}

// counts returns the numbers of unreadable records and of rebuilt ones.
func (b *badRecords) counts() (unreadable, rebuilt int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.unreadable), b.rebuilt
}
