package helpers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// errNoClient is the error for a container that has no helper any longer.
var errNoClient = errors.New("the address belongs to no attachment with a helper of masqd")

// Owner implements session.Node.
func (h *Helpers) Owner(address netip.Addr) (identity string, ok bool) {
	c, ok := h.clients.at(address.Unmap())
	return c.identity, ok
}

// Reserve implements session.Node. The ports are ones that flows of the attachment could
// leave with, and that no socket of the node has.
func (h *Helpers) Reserve(identity string, proto uint8, egress netip.Addr, n int) (first uint16, err error) {
	c, ok := h.clients.named(identity)
	if !ok {
		return 0, errNoClient
	}
	all, err := h.o.Sockets()
	if err != nil {
		return 0, err
	}
	inUse := map[uint16]bool{}
	for _, s := range all {
		if s.Protocol == proto {
			inUse[s.Port()] = true
		}
	}
	free := ruleset.FreePorts(c.policy.ToPorts, h.clients.node().Reserved)
	return h.ports.reserve(proto, egress, n, free, inUse)
}

// Release implements session.Node.
func (h *Helpers) Release(proto uint8, egress netip.Addr, first uint16, n int) {
	h.ports.release(proto, egress, first, n)
}

// Open implements session.Node.
func (h *Helpers) Open(m session.Media) error {
	if err := h.open(m, h.flows.create); err != nil {
		return fmt.Errorf("open %s for %s: %w", m.Egress, m.Server, err)
	}
	return nil
}

// Renew implements session.Node.
func (h *Helpers) Renew(m session.Media) error {
	if err := h.open(m, h.flows.renew); err != nil {
		return fmt.Errorf("keep %s open for %s: %w", m.Egress, m.Server, err)
	}
	return nil
}

// open opens media. create creates a flow, or keeps it.
func (h *Helpers) open(m session.Media, create func(conntrack.Entry) error) error {
	c, ok := h.clients.named(m.Identity)
	if !ok {
		return errNoClient
	}
	// First, so that the deletion of the attachment finds it.
	h.media.add(m)
	var err error
	if m.Server.Port() != 0 {
		err = create(entryOf(m, session.MediaTimeout))
		if errors.Is(err, conntrack.ErrExists) {
			err = errors.Join(session.ErrInUse, err)
		}
	} else {
		err = h.allow(m, c)
	}
	if err != nil {
		h.media.remove(m)
	}
	return err
}

// allow opens a port for a server whose port is not known.
func (h *Helpers) allow(m session.Media, c client) error {
	all, err := h.o.Sockets()
	if err != nil {
		return err
	}
	for _, s := range all {
		// The rules give the port to the socket (ruleset.HelperTable).
		if s.Protocol == m.Proto && s.Port() == m.Egress.Port() && (s.Addr().IsUnspecified() || s.Addr().Unmap() == m.Egress.Addr()) {
			return fmt.Errorf("%w: a socket of the node", session.ErrInUse)
		}
	}
	return h.table.allow(h.ctx, ruleset.Opened{
		Identity: c.element(), Egress: m.Egress, Proto: m.Proto, Peer: m.Server.Addr(), Client: m.Client,
	})
}

// Close implements session.Node.
func (h *Helpers) Close(m session.Media) error {
	h.media.remove(m)
	return h.end(m)
}

// end closes media in the kernel.
func (h *Helpers) end(m session.Media) error {
	if m.Server.Port() == 0 {
		h.table.forbid(m.Egress, m.Proto, m.Server.Addr())
		return nil
	}
	return h.flows.delete(entryOf(m, session.MediaTimeout))
}

// endOpened closes ports that were open for servers whose ports are not known, and deletes the
// flows to them: a flow lasts as long as the server sends.
func (h *Helpers) endOpened(ctx context.Context, all []session.Media) error {
	if len(all) == 0 {
		return nil
	}
	// First, so that no other flow begins.
	if err := h.table.forbidAll(ctx, all); err != nil {
		return err
	}
	return h.flows.deleteOpened(ctx, all)
}

// forgetEnded forgets the media of an attachment that the kernel has ended.
func (h *Helpers) forgetEnded(identity string) {
	for _, m := range h.media.of(identity) {
		if m.Server.Port() == 0 {
			if !h.table.allows(m.Egress, m.Proto, m.Server.Addr()) {
				h.media.remove(m)
			}
			continue
		}
		if _, err := h.flows.get(entryOf(m, session.MediaTimeout).Original()); errors.Is(err, conntrack.ErrNotFound) {
			h.media.remove(m)
		}
	}
}

// speak applies the policy of a client to a flow of masqd, until the returned function is
// called.
func (h *Helpers) speak(ctx context.Context, c client, proto uint8, local, from netip.AddrPort) (end func(), err error) {
	s := ruleset.Spoken{Identity: c.element(), Local: local, Proto: proto}
	if err := h.table.speak(ctx, s, *c.policy); err != nil {
		return nil, err
	}
	h.proxied.add(localPort{proto, local}, from)
	return func() {
		h.proxied.end(localPort{proto, local})
		h.table.silence(s, *c.policy)
	}, nil
}

// local returns masqd's address of a family.
func (h *Helpers) local(f masq.Family) (netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.listeners[f]
	if l == nil {
		return netip.Addr{}, fmt.Errorf("masqd does not listen at an address of %s", f)
	}
	return l.address, nil
}
