package endpoint

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestShared checks that requests which wait at the same time share an answer, and that no
// answer is older than its request.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rendered := 0
		release := make(chan struct{})
		s := newShared(func() int {
			rendered++
			n := rendered
			<-release
			return n
		})
		var wg sync.WaitGroup
		request := func(want int) {
			wg.Go(func() {
				if n, err := s.get(t.Context()); n != want || err != nil {
					t.Errorf("answer %d, %v, want %d", n, err, want)
				}
			})
		}
		request(1)
		synctest.Wait()
		for range 50 { // while the first answer is rendered
			request(2)
		}
		synctest.Wait()
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.get(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has disconnected gets %v", err)
		}
		close(release)
		wg.Wait()
		request(3)
		wg.Wait()
	})
}

// TestSharedPauses checks that the pause after an answer is bounded.
func TestSharedPauses(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{time.Millisecond: pauseFactor * time.Millisecond, time.Minute: maxPause} {
		synctest.Test(t, func(t *testing.T) {
			var started, ended time.Time
			var pause time.Duration
			s := newShared(func() bool {
				if started = time.Now(); !ended.IsZero() {
					pause = started.Sub(ended)
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
			if pause != want {
				t.Errorf("pause after %s is %s, want %s", took, pause, want)
			}
		})
	}
}

// TestSharedPanics checks that an answer is rendered after the rendering of an earlier one
// has panicked.
func TestSharedPanics(t *testing.T) {
	calls := 0
	s := newShared(func() int {
		if calls++; calls == 1 {
			panic("test")
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
