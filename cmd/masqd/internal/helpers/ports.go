package helpers

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// errNoPort is the error of reserve if no port is free.
var errNoPort = errors.New("the egress address has no free port")

// ports are the ports of egress addresses that sessions hold.
type ports struct {
	mu   sync.Mutex
	held map[heldPort]bool
}

type heldPort struct {
	proto  uint8
	egress netip.Addr
	port   uint16
}

// reserve reserves n consecutive ports of free that are not in use. The first is even if
// n is 2.
func (p *ports) reserve(proto uint8, egress netip.Addr, n int, free []masq.PortRange, inUse map[uint16]bool) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := 0
	for _, r := range free {
		total += int(r.Last) - int(r.First) + 1
	}
	if total == 0 || n < 1 {
		return 0, errNoPort
	}
	fits := func(first int, r masq.PortRange) bool {
		if first < session.MinPort || first+n-1 > int(r.Last) || n == 2 && first%2 != 0 {
			return false
		}
		for port := first; port < first+n; port++ {
			if inUse[uint16(port)] || p.held[heldPort{proto, egress, uint16(port)}] {
				return false
			}
		}
		return true
	}
	// A random start spreads the ports, so that a port is not used again soon.
	for i, start := 0, rand.IntN(total); i < total; i++ {
		at := (start + i) % total
		for _, r := range free {
			size := int(r.Last) - int(r.First) + 1
			if at >= size {
				at -= size
				continue
			}
			if first := int(r.First) + at; fits(first, r) {
				p.hold(proto, egress, uint16(first), n)
				return uint16(first), nil
			}
			break
		}
	}
	return 0, errNoPort
}

func (p *ports) hold(proto uint8, egress netip.Addr, first uint16, n int) {
	if p.held == nil {
		p.held = map[heldPort]bool{}
	}
	for i := range n {
		p.held[heldPort{proto, egress, first + uint16(i)}] = true
	}
}

func (p *ports) release(proto uint8, egress netip.Addr, first uint16, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		delete(p.held, heldPort{proto, egress, first + uint16(i)})
	}
}
