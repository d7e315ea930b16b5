package endpoint

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestShared: requests that wait at the same time share an answer, and none is older than
// its request.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		release := make(chan struct{})
		s := newShared(func() int {
			made++
			n := made
			<-release
			return n
		})
		var wg sync.WaitGroup
		ask := func(want int) {
			wg.Go(func() {
				if n, err := s.get(t.Context()); n != want || err != nil {
					t.Errorf("answer %d, %v; not %d", n, err, want)
				}
			})
		}
		ask(1)
		synctest.Wait()
		for range 50 { // after the first answer has begun
			ask(2)
		}
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := s.get(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has gone gets %v", err)
		}
		close(release)
		wg.Wait()
		ask(3)
		wg.Wait()
	})
}

// TestSharedRests: after an answer, the next one waits for a pause that is bounded.
func TestSharedRests(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{time.Millisecond: pause * time.Millisecond, time.Minute: maxPause} {
		synctest.Test(t, func(t *testing.T) {
			var begun, ended time.Time
			var rest time.Duration
			s := newShared(func() bool {
				if begun = time.Now(); !ended.IsZero() {
					rest = begun.Sub(ended)
				}
				<-time.After(took)
				ended = time.Now()
				return true
			})
			for range 2 {
				if ok, err := s.get(t.Context()); !ok || err != nil {
					t.Error(ok, err)
				}
			}
			if rest != want {
				t.Errorf("after %s it rests %s, not %s", took, rest, want)
			}
		})
	}
}

// TestSharedPanics: an answer that cannot be made is an error of all requests that wait for
// it, and the next one is made.
func TestSharedPanics(t *testing.T) {
	calls := 0
	s := newShared(func() int {
		if calls++; calls == 1 {
			panic("fault")
		}
		return calls
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = s.get(t.Context())
	}()
	if n, err := s.get(t.Context()); n != 2 || err != nil {
		t.Error(n, err)
	}
}
