package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/masq-cni/masq-cni/pkg/alg/pna"
	"github.com/masq-cni/masq-cni/pkg/alg/rtsp"
)

// control is a control connection: one to the client and one to the server. Two goroutines
// copy, one in each direction.
type control struct {
	*Server
	identity       string
	from, to       netip.AddrPort // the client, the server
	client, server *end
	addresses      rtsp.Addresses
	answers        answers
	media          media
	// unread: requests of the client are not rewritten anymore.
	unread atomic.Bool

	mu      sync.Mutex
	helper  Helper
	counted bool // as unreadable
}

// copy copies in both directions until both have ended, or ctx has.
func (c *control) copy(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { c.abort(ctx) })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := c.toClient()
		c.answers.end()
		c.ended(ctx, err, c.client)
	}()
	c.ended(ctx, c.toServer(), c.server)
	<-done
	c.finish()
	c.client.partial, c.server.partial = nil, nil // they hold the Readers
}

// ended passes on the end of a direction. The other direction reads from the connection
// that this one writes to.
func (c *control) ended(ctx context.Context, err error, to *end) {
	if errors.Is(err, io.EOF) {
		err = to.closeWrite()
	}
	if err != nil {
		c.abort(ctx)
		return
	}
	to.setHalfClosed()
}

// abort ends both connections at once. It closes them if ctx has ended for another reason than
// ErrDeleted, and resets them otherwise. Some players connect again after a normal end, and take a
// reset for an error.
func (c *control) abort(ctx context.Context) {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrDeleted) {
		c.finish()
		return
	}
	c.client.reset()
	c.server.reset()
}

// finish closes both connections.
func (c *control) finish() {
	c.client.finish()
	c.server.finish()
}

// toServer copies what the client sends.
func (c *control) toServer() error {
	r := rtsp.NewReader(c.client)
	c.client.partial = r.Partial
	switch {
	case c.unread.Load():
		r.Raw()
	case isPNA(r):
		if err := c.pna(r); err != nil {
			return err
		}
	}
	for {
		p, err := r.Next()
		c.client.nextMessage()
		if err != nil {
			if err = c.afterError(err, c.client, r); err != nil {
				return err
			}
			continue
		}
		out := p.Data
		if p.Message != nil && !c.unread.Load() {
			out, err = c.request(p)
		}
		if err == nil && out != nil {
			_, err = c.server.Write(out)
		}
		if err != nil {
			return err
		}
		if out == nil {
			discardBody(r)
		}
	}
}

// isPNA reports whether a connection begins as PNA, and not as RTSP (PLAY). An error is
// returned again by r.Next.
func isPNA(r *rtsp.Reader) bool {
	const magic = 3 // bytes that distinguish PNA
	for n := 1; ; n++ {
		b, err := r.Peek(n)
		if err != nil {
			return false
		}
		if _, err := pna.Parse(b); errors.Is(err, pna.ErrNotPNA) {
			return false
		}
		if len(b) >= magic {
			return true
		}
	}
}

// toClient copies what the server sends.
func (c *control) toClient() error {
	r := rtsp.NewReader(c.server)
	c.server.partial = r.Partial
	// A server of RTSP waits for the client's first message, after which the protocol is
	// known.
	if _, err := r.Peek(1); err == nil && c.unread.Load() {
		c.answers.end()
		r.Raw()
	}
	for {
		p, err := r.Next()
		c.server.nextMessage()
		if err != nil {
			if err = c.afterError(err, c.server, r); err != nil {
				return err
			}
			continue
		}
		out, refused := p.Data, false
		if p.Message != nil && p.Message.Status >= finalStatus {
			out, refused = c.answer(p)
		}
		if err := c.answers.write(out, r.Left() > 0 && !refused); err != nil {
			return err
		}
		if refused {
			discardBody(r)
		}
	}
}

// finalStatus is the lowest status that ends a request (RFC 2326, section 7.1.1).
const finalStatus = 200

// discardBody reads the body of a message that is not passed on. Next repeats an error.
func discardBody(r *rtsp.Reader) {
	for r.Left() > 0 {
		if _, err := r.Next(); err != nil {
			return
		}
	}
}

// afterError handles an error of r. If the input is not readable, it returns nil, and the
// rest of the stream is copied unread.
func (c *control) afterError(err error, from *end, r *rtsp.Reader) error {
	protocol := Other
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && r.Partial():
		r.Raw() // the last part
		return nil
	case errors.Is(err, rtsp.ErrTLS):
		protocol = TLS
	case errors.Is(err, rtsp.ErrNotRTSP):
		if b, _ := r.Peek(0); isHTTP(b) {
			protocol = HTTP
		}
	case errors.Is(err, rtsp.ErrSyntax), errors.Is(err, rtsp.ErrHeaderTooLong):
		protocol = Invalid
	case errors.Is(err, os.ErrDeadlineExceeded) && !from.halfClosed.Load():
		protocol = SlowHeader
	default:
		return err
	}
	c.unreadable(protocol, err)
	if from == c.server {
		c.answers.end()
	}
	r.Raw()
	return nil
}

// isHTTP reports whether an HTTP message begins here.
func isHTTP(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.Contains(line, []byte("HTTP/1."))
}

// refused counts and logs that something was not opened.
func (c *control) refused(r Reason, err error) {
	c.mu.Lock()
	h := c.helper
	c.mu.Unlock()
	c.counters.refused(h, r)
	c.logger().Debug("refused", "helper", h, "reason", r, "err", err)
}

// unreadable counts and logs, once, that the connection is copied unread.
func (c *control) unreadable(p Protocol, err error) {
	c.unread.Store(true)
	c.mu.Lock()
	h, first := c.helper, !c.counted
	c.counted = true
	c.mu.Unlock()
	if first {
		c.counters.unreadable(h, p)
		c.logger().Debug("copied unread", "helper", h, "protocol", p, "err", err)
	}
}

func (c *control) logger() *slog.Logger {
	return c.log.With("attachment", c.identity, "client", c.from, "server", c.to)
}

// setHelper moves the connection to the counters of another helper.
func (c *control) setHelper(h Helper) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counters.connections(c.helper, -1)
	c.counters.connections(h, 1)
	c.helper = h
}
