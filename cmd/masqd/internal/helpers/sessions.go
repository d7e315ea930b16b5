package helpers

import (
	"context"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
)

// sessions are the running sessions, by the identity of the attachment.
type sessions struct {
	mu      sync.Mutex
	running map[string]map[*context.CancelCauseFunc]bool
}

// begin registers a session. Its context ends with the attachment. The caller calls end
// after the session.
func (s *sessions) begin(ctx context.Context, identity string) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[string]map[*context.CancelCauseFunc]bool{}
	}
	if s.running[identity] == nil {
		s.running[identity] = map[*context.CancelCauseFunc]bool{}
	}
	s.running[identity][&cancel] = true
	return ctx, func() {
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.running[identity], &cancel); len(s.running[identity]) == 0 {
			delete(s.running, identity)
		}
	}
}

// any reports whether a session runs.
func (s *sessions) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) > 0
}

// endExcept ends the sessions of all identities for which keep returns false.
func (s *sessions) endExcept(keep func(identity string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for identity, all := range s.running {
		if keep(identity) {
			continue
		}
		for cancel := range all {
			(*cancel)(session.ErrDeleted)
		}
	}
}
