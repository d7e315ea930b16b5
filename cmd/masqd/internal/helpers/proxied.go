package helpers

import (
	"net/netip"
	"sync"
	"time"
)

// proxiedRetention is how long after its end a flow of masqd is attributed to its client:
// the kernel reports the end of a TCP flow when it leaves TIME_WAIT, after two minutes by
// default (nf_conntrack_tcp_timeout_time_wait).
const proxiedRetention = 5 * time.Minute

// proxied are the clients for which masqd speaks to servers, for the NAT log.
type proxied struct {
	mu    sync.Mutex
	flows map[localPort]proxiedFlow // by masqd's own address and port
	// pruneAt is the number of flows at which ended ones are removed.
	pruneAt int
}

type localPort struct {
	proto uint8
	netip.AddrPort
}

type proxiedFlow struct {
	client netip.AddrPort
	ended  time.Time // zero while the flow is in use
}

const minPrune = 256

func (p *proxied) add(local localPort, client netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows == nil {
		p.flows, p.pruneAt = map[localPort]proxiedFlow{}, minPrune
	}
	if len(p.flows) >= p.pruneAt {
		for a, f := range p.flows {
			if !f.ended.IsZero() && time.Since(f.ended) > proxiedRetention {
				delete(p.flows, a)
			}
		}
		p.pruneAt = max(minPrune, 2*len(p.flows))
	}
	p.flows[local] = proxiedFlow{client: client}
}

func (p *proxied) end(local localPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.flows[local]; ok {
		f.ended = time.Now()
		p.flows[local] = f
	}
}

// clientOf returns the client of a flow by masqd's own address and port.
func (p *proxied) clientOf(local localPort) (client netip.AddrPort, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flows[local]
	if ok && !f.ended.IsZero() && time.Since(f.ended) > proxiedRetention {
		return netip.AddrPort{}, false
	}
	return f.client, ok
}
