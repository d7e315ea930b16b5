package daemon

import (
	"sync"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
)

// lockedRules reads the kernel's ruleset for several goroutines. An nft.Conn is for one
// goroutine at a time, and the sync loop has its own.
type lockedRules struct {
	mu   sync.Mutex
	conn *nft.Conn
}

func openLockedRules() (*lockedRules, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, err
	}
	return &lockedRules{conn: conn}, nil
}

func (r *lockedRules) close() error { return r.conn.Close() }

// Generation returns the generation of the ruleset.
func (r *lockedRules) Generation() (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.Generation()
}

// CountedRules returns the rules that have counters.
func (r *lockedRules) CountedRules() ([]nft.CountedRule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.CountedRules()
}

// Attached returns the elements of attachments that want selects by their identity.
func (r *lockedRules) Attached(want func(identity string) bool) ([]nft.Attached, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.Attached(want)
}

// DirectRanges returns the direct destinations of a policy.
func (r *lockedRules) DirectRanges(policy string) ([]masq.AddrRange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.DirectRanges(policy)
}
