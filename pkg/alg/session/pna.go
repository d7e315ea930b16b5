package session

import (
	"errors"
	"os"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
)

// pna copies the first message of a client of PNA. What follows is copied unread, and so is
// what the server sends: it has no addresses.
func (c *control) pna(r *rtsp.Reader) error {
	c.setHelper(HelperPNA)
	c.unread.Store(true) // for the server's direction, which waits for the client's message
	r.Raw()
	var (
		read  []byte // the first message so far
		sent  int    // bytes of it that the server has
		ports int    // that were handled
	)
	c.client.partial = func() bool { return sent < len(read) }
	defer func() { c.client.partial = nil }()
	for {
		h, invalid := pna.Parse(read)
		for _, p := range h.Ports[ports:] {
			if mapped, err := c.media.openUnasked(p.Number); err != nil {
				// PNA has no refusal: the server sends to a port that is not open.
				c.refused(reasonOf(err), err)
			} else {
				h.Replace(read, p, mapped)
			}
		}
		ports = len(h.Ports)
		until := h.Length
		if invalid != nil {
			c.unreadable(Invalid, invalid)
			until = len(read)
		}
		if h.Done {
			until = len(read)
		}
		if until > sent {
			if _, err := c.server.Write(read[sent:until]); err != nil {
				return err
			}
			sent = until
			c.client.nextMessage()
		}
		if h.Done || invalid != nil {
			return nil
		}
		p, err := r.Next()
		read = append(read, p.Data...)
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.client.halfClosed.Load():
			c.unreadable(SlowHeader, err)
			r.Raw()
		}
		// A part of an option is left. Next repeats its error.
		if sent < len(read) {
			if _, err := c.server.Write(read[sent:]); err != nil {
				return err
			}
		}
		return nil
	}
}

// openUnasked opens a port of the client for any port of the server, and returns the port of
// the egress address that stands for it.
func (m *media) openUnasked(client uint16) (uint16, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, err := m.reserve(1)
	if err != nil {
		return 0, err
	}
	ports := rtsp.Ports{First: first}
	a := rtsp.Media{Mapping: rtsp.Mapping{Client: rtsp.Ports{First: client}, Egress: ports}}
	if err := m.open(stream{ports: ports}, a); err != nil {
		m.release(a.Mapping)
		return 0, err
	}
	return first, nil
}
