package main

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

// unreadable retries records that cannot be read, has damaged ones rebuilt, and reports
// the faults that remain.
type unreadable struct {
	cache   *reconcile.Cache
	records *store.Records
	rebuild *reconcile.Rebuilder
	changed func() // is called when unreadable records have become readable
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	left    []reconcile.UnreadableRecord
	kept    []string // damaged files that were replaced
	rebuilt int
}

// rereadFirst is the time until unreadable records are read again. It doubles with each
// attempt, up to rereadMost.
const (
	rereadFirst = time.Second
	rereadMost  = 30 * time.Second
)

// notice requests a pass if there are unreadable or damaged records.
func (u *unreadable) notice() {
	if !u.cache.HasUnreadable() && u.count() == 0 && len(u.trouble()) == 0 {
		return
	}
	select {
	case u.wake <- struct{}{}:
	default: // a pass is already requested
	}
}

func (u *unreadable) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.left)
}

func (u *unreadable) run(ctx context.Context) error {
	wait := rereadFirst
	for {
		var retry <-chan time.Time
		if u.count() > 0 {
			retry = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.wake:
			wait = rereadFirst
		case <-retry:
			wait = min(2*wait, rereadMost)
		}
		u.pass()
	}
}

// pass reads the unreadable records again, and has damaged records rebuilt.
func (u *unreadable) pass() {
	changed := u.cache.Retry()
	rebuilt := u.rebuild.Run()
	if rebuilt > 0 {
		changed = u.cache.Retry() || changed
	}
	kept, err := u.records.Damaged()
	if err != nil {
		u.log.Error("cannot list damaged records", "err", err)
	}
	u.mu.Lock()
	u.left, u.kept, u.rebuilt = u.cache.Unreadable(), kept, u.rebuilt+rebuilt
	u.mu.Unlock()
	if changed {
		u.changed()
	}
}

// trouble describes the unreadable records, and the damaged records that were rebuilt. The
// attachments of both keep their rules, so masqd stays ready.
func (u *unreadable) trouble() (out []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.left {
		todo := "correct the fault; masqd reads the file again within half a minute"
		if x.Damaged {
			todo = "delete its container, or restore the file"
		}
		out = append(out, fmt.Sprintf("record cannot be read: %v: the rules of its attachment are left as they are; %s", x.ReadError, todo))
	}
	for _, path := range u.kept {
		out = append(out, fmt.Sprintf("record %s.json was damaged and was rebuilt; look at %s, then delete it", strings.TrimSuffix(path, ".bad"), path))
	}
	return out
}

// counts are for metrics.
func (u *unreadable) counts() (left, rebuilt int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.left), u.rebuilt
}
