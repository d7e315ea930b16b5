package nstest

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// recordLimit bounds the memory of a record; later items are only counted.
const recordLimit = 16384

// record is a growing list that callers can wait for.
type record[T any] struct {
	mu      sync.Mutex
	items   []T
	lost    int
	changed chan struct{} // closed at the next change
}

func (r *record[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == recordLimit {
		r.lost++
		return
	}
	r.items = append(r.items, v)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// all returns the items so far. They are shared and never changed.
func (r *record[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.items)
}

func (r *record[T]) overflow() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// wait returns the items as soon as enough returns true for them. When the context ends first,
// it returns the items so far and an error.
func (r *record[T]) wait(ctx context.Context, enough func([]T) bool) ([]T, error) {
	for {
		r.mu.Lock()
		items := slices.Clip(r.items)
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if enough(items) {
			return items, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return items, fmt.Errorf("not among the %d seen: %w", len(items), ctx.Err())
		}
	}
}
