package session

import (
	"errors"
	"hash/maphash"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
)

// request handles a request of the client. It returns what the server gets, or nil.
func (c *control) request(p rtsp.Part) ([]byte, error) {
	switch p.Message.Method {
	case "SETUP":
		return c.setup(p)
	case "TEARDOWN":
		c.media.teardown(p.Message)
	}
	return p.Data, nil
}

// setup handles a SETUP request. It returns what the server gets, or nil if the client has
// got a refusal.
func (c *control) setup(p rtsp.Part) ([]byte, error) {
	out, refusal := c.media.offer(p.Message)
	if refusal == nil {
		return out, nil
	}
	c.refused(reasonOf(refusal), refusal)
	ok, err := c.answers.insert(rtsp.AppendRefusal(nil, p.Message))
	if !ok && err == nil {
		return p.Data, nil // the server's stream is not readable, so this one is passed on too
	}
	return nil, err
}

// answer handles a final answer of the server. It returns what the client gets. refused says
// that it is a refusal, which replaces the answer and its body. Players then ask for a
// stream within the connection.
func (c *control) answer(p rtsp.Part) (out []byte, refused bool) {
	out, err := c.media.answered(p.Message)
	switch {
	case err != nil:
		c.refused(reasonOf(err), err)
		return rtsp.AppendRefusal(nil, p.Message), true
	case out == nil:
		return p.Data, false
	}
	return out, false
}

// reasonOf returns the reason of an error, for the counters.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, rtsp.ErrForeignAddress):
		return ForeignAddress
	case errors.Is(err, rtsp.ErrPorts):
		return InvalidPorts
	case errors.Is(err, rtsp.ErrSyntax), errors.Is(err, pna.ErrMalformed), errors.Is(err, errMalformed):
		return Malformed
	case errors.Is(err, errLimit):
		return LimitExceeded
	case errors.Is(err, errNoPort):
		return NoPorts
	case errors.Is(err, ErrInUse):
		return InUse
	}
	return Failed
}

func (c *control) openedMedia(n int) {
	c.mu.Lock()
	h := c.helper
	c.mu.Unlock()
	c.counters.opened(h, n)
}

func (m *media) hash(b []byte) uint64 { return maphash.Bytes(m.c.seed, b) }
