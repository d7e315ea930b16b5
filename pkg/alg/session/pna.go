package session

import (
	"errors"
	"io"
	"os"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
)

// pna copies what a client of PNA sends, from r. The server's answers have no addresses.
func (c *control) pna(r io.Reader) error {
	c.setHelper(HelperPNA)
	c.unread.Store(true) // for the server's direction, which waits for the client's message
	var (
		read  []byte // the first message so far
		sent  int    // bytes of it that the server has
		ports int    // that were handled
		piece = make([]byte, pnaPiece)
	)
	c.client.partial = func() bool { return sent < len(read) }
	for {
		h, err := pna.Parse(read)
		for _, p := range h.Ports[ports:] {
			if mapped, err := c.media.openUnasked(p.Number); err != nil {
				// PNA has no refusal: the server sends to a port that is not open.
				c.refused(reasonOf(err), err)
			} else {
				h.Replace(read, p, mapped)
			}
		}
		ports = len(h.Ports)
		if err != nil {
			c.unreadable(Invalid, err)
		}
		if h.Done || err != nil {
			return c.pnaRest(r, read[sent:])
		}
		if sent < h.Length {
			if err := write(c.server, read[sent:h.Length]); err != nil {
				return err
			}
			sent = h.Length
			c.client.nextMessage()
		}
		n, err := r.Read(piece)
		read = append(read, piece[:n]...)
		switch {
		case err == nil || n > 0:
		case errors.Is(err, io.EOF):
			return c.pnaRest(r, read[sent:])
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.client.halfClosed.Load():
			c.unreadable(SlowHeader, err)
			return c.pnaRest(r, read[sent:])
		default:
			return err
		}
	}
}

// pnaPiece is the number of bytes that are read at a time. Requests of players are shorter.
const pnaPiece = 1 << 10

// pnaRest copies b and what follows the first message.
func (c *control) pnaRest(r io.Reader, b []byte) error {
	c.client.unread()
	if err := write(c.server, b); err != nil {
		return err
	}
	return copyAll(c.server, r)
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
