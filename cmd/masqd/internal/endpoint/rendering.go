package endpoint

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// pause is the pause after an answer, in multiples of the time that it took to make:
	// answers take at most a tenth of a core, however many are requested.
	pause = 9
	// maxPause bounds the pause, for a machine that is slow at the moment.
	maxPause = 100 * time.Millisecond
)

// shared makes answers, one at a time and at a bounded pace. Requests that wait at the
// same time get the same answer. It is made after all of them have come, so it is never
// older than a request.
type shared[T any] struct {
	render func() T

	mu   sync.Mutex     // of next
	next *answer[T]     // what requests wait for, or nil
	turn chan time.Time // has room for one: when the next answer may be made
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

var errNotRendered = errors.New("the answer could not be made")

// get returns an answer that was made after the call began.
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
		s.make(a)
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

// make makes an answer. It does so even if the client of its request has gone: others
// may wait for it.
func (s *shared[T]) make(a *answer[T]) {
	due := <-s.turn
	defer func() { s.turn <- due }()
	defer close(a.done) // others do not wait for ever if render panics
	if rest := time.Until(due); rest > 0 {
		<-time.After(rest)
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	begun := time.Now()
	a.value = s.render()
	a.ok = true
	due = time.Now().Add(min(pause*time.Since(begun), maxPause))
}
