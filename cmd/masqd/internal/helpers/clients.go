package helpers

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// clients are the containers that have a helper of masqd.
type clients struct {
	mu      sync.RWMutex
	owners  map[netip.Addr]client // the zero value for an attachment without such a helper
	byName  map[string]client     // by identity
	sources ruleset.Sources       // without prefixes if the node's policy has no helper of masqd
	egress  ruleset.Egress
}

// client is a container that has a helper of masqd.
type client struct {
	// identity names the attachment. A client within sourceCIDRs has its address as identity:
	// the limits of attachments apply to each address.
	identity string
	policy   *masq.Policy
	isSource bool
}

// element returns the identity of the client's elements in the kernel.
func (c client) element() string {
	if c.isSource {
		return ""
	}
	return c.identity
}

// set replaces all clients. If several attachments have an address, it belongs to the last.
// Attachments may have no helper of masqd.
func (c *clients) set(attachments []masq.Attachment, sources ruleset.Sources, egress ruleset.Egress) {
	owners, byName := make(map[netip.Addr]client, len(attachments)), make(map[string]client, len(attachments))
	for _, a := range attachments {
		var x client
		if isServed(a.Policy) {
			x = client{identity: a.Identity(), policy: a.Policy}
			byName[x.identity] = x
		}
		for _, addr := range a.Addresses {
			owners[addr] = x
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners, c.byName, c.sources, c.egress = owners, byName, sources, egress
}

// at returns the client that has an address.
func (c *clients) at(a netip.Addr) (client, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if x, ok := c.owners[a]; ok {
		return x, x.policy != nil
	}
	return c.source(a)
}

// source returns the client within sourceCIDRs that has an address.
func (c *clients) source(a netip.Addr) (client, bool) {
	if slices.ContainsFunc(c.sources.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return client{identity: a.String(), policy: &c.sources.Policy, isSource: true}, true
	}
	return client{}, false
}

// named returns the client that has an identity.
func (c *clients) named(identity string) (client, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if x, ok := c.byName[identity]; ok {
		return x, true
	}
	if a, err := netip.ParseAddr(identity); err == nil {
		return c.source(a)
	}
	return client{}, false
}

// node returns the egress addresses and the reserved ports of the node.
func (c *clients) node() ruleset.Egress {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.egress
}
