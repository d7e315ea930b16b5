package endpoint

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// pauseFactor is the pause after an answer, in multiples of the time to render it: answers
	// take at most a tenth of a core, however many are requested.
	pauseFactor = 9
	// maxPause bounds the pause when the machine is slow.
	maxPause = 100 * time.Millisecond
)

// shared renders answers, one at a time and at a bounded pace. Requests that wait at the same
// time get the same answer. It is rendered after all of them have arrived, so it is never
// older than a request.
type shared[T any] struct {
	render func() T

	mu   sync.Mutex     // of next
	next *answer[T]     // the answer that requests wait for; nil: none
	turn chan time.Time // has room for one: when the next answer may be rendered
}

func newShared[T any](render func() T) *shared[T] {
	s := &shared[T]{render: render, turn: make(chan time.Time, 1)}
	s.turn <- time.Time{}
	return s
}

type answer[T any] struct {
	done  chan struct{}
	ok    bool
	value T
}

var errNotRendered = errors.New("the answer could not be rendered")

// get returns an answer that was rendered after the call.
func (s *shared[T]) get(ctx context.Context) (value T, err error) {
	s.mu.Lock()
	a := s.next
	first := a == nil
	if first {
		a = &answer[T]{done: make(chan struct{})}
		s.next = a
	}
	s.mu.Unlock()
	if first {
		s.fill(a)
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	if !a.ok {
		return value, errNotRendered
	}
	return a.value, nil
}

// fill renders an answer, even if the client of the first request has disconnected: other
// requests may wait for it.
func (s *shared[T]) fill(a *answer[T]) {
	due := <-s.turn
	defer func() { s.turn <- due }()
	defer close(a.done) // other requests do not wait forever if render panics
	if rest := time.Until(due); rest > 0 {
		<-time.After(rest)
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	start := time.Now()
	a.value = s.render()
	a.ok = true
	due = time.Now().Add(min(pauseFactor*time.Since(start), maxPause))
}
