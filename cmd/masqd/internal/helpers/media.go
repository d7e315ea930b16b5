package helpers

import (
	"sync"
	"time"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// media remembers what sessions opened, so that it can be closed when the attachment is
// deleted: the next attachment with the address must not receive the stream.
type media struct {
	mu   sync.Mutex
	open map[string]map[session.Media]bool // by identity
}

func (m *media) add(x session.Media) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open = map[string]map[session.Media]bool{}
	}
	if m.open[x.Identity] == nil {
		m.open[x.Identity] = map[session.Media]bool{}
	}
	m.open[x.Identity][x] = true
}

func (m *media) remove(x session.Media) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open[x.Identity], x)
	if len(m.open[x.Identity]) == 0 {
		delete(m.open, x.Identity)
	}
}

// any reports whether media are open.
func (m *media) any() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open) > 0
}

// takeExcept removes and returns the media of all identities for which keep returns false.
func (m *media) takeExcept(keep func(identity string) bool) (out []session.Media) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for identity, all := range m.open {
		if keep(identity) {
			continue
		}
		for x := range all {
			out = append(out, x)
		}
		delete(m.open, identity)
	}
	return out
}

// of returns the media of an identity.
func (m *media) of(identity string) (out []session.Media) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for x := range m.open[identity] {
		out = append(out, x)
	}
	return out
}

// entryOf returns the flow of media whose server has a known port.
func entryOf(m session.Media, timeout time.Duration) conntrack.Entry {
	return conntrack.Entry{Proto: m.Proto, Src: m.Client, Dst: m.Server, NAT: m.Egress, Timeout: timeout}
}
