package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
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
	log            *slog.Logger
	identity       string
	client, server *end
	addresses      rtsp.Addresses
	answers        answers
	media          media
	// unread: nothing is rewritten and opened anymore.
	unread atomic.Bool

	mu      sync.Mutex
	helper  Helper
	counted bool // as unreadable
}

// copy copies in both directions until both have ended, or ctx has.
func (c *control) copy(ctx context.Context) {
	c.answers.init(c.client)
	stop := context.AfterFunc(ctx, c.reset)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := c.toClient()
		c.answers.end()
		c.ended(err, c.client)
	}()
	c.ended(c.toServer(), c.server)
	<-done
	c.client.finish()
	c.server.finish()
}

// ended passes on the end of a direction. The other direction reads from the connection
// that this one writes to.
func (c *control) ended(err error, to *end) {
	if err == nil {
		err = to.closeWrite()
	}
	if err != nil {
		c.reset()
		return
	}
	to.setHalfClosed()
}

// reset resets both connections.
func (c *control) reset() {
	c.client.reset()
	c.server.reset()
}

// toServer copies what the client sends.
func (c *control) toServer() error {
	r := rtsp.NewReader(c.client)
	c.client.partial = r.Partial
	if c.unread.Load() {
		return c.copyUnread(c.client, r, c.server)
	}
	is, err := isPNA(r)
	if err != nil {
		return c.afterError(err, c.client, r, c.server)
	}
	if is {
		return c.pna(r.Rest())
	}
	for {
		p, err := r.Next()
		c.client.nextMessage()
		if err != nil {
			return c.afterError(err, c.client, r, c.server)
		}
		out := p.Data
		if p.Message != nil && !c.unread.Load() {
			switch p.Message.Method {
			case "SETUP":
				out, err = c.setup(p)
			case "TEARDOWN":
				c.media.teardown(p.Message)
			}
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

// isPNA reports whether a connection begins as PNA, and not as RTSP (PLAY).
func isPNA(r *rtsp.Reader) (bool, error) {
	const magic = 3 // bytes that distinguish PNA
	for n := 1; ; n++ {
		b, err := r.Peek(n)
		if err != nil {
			return false, err
		}
		if _, err := pna.Parse(b); errors.Is(err, pna.ErrNotPNA) {
			return false, nil
		}
		if len(b) >= magic {
			return true, nil
		}
	}
}

// toClient copies what the server sends.
func (c *control) toClient() error {
	r := rtsp.NewReader(c.server)
	c.server.partial = r.Partial
	// A server of RTSP waits for the client's first message, after which the protocol is
	// known.
	switch _, err := r.Peek(1); {
	case err != nil:
		return c.afterError(err, c.server, r, c.client)
	case c.unread.Load():
		return c.copyUnread(c.server, r, c.client)
	}
	for {
		p, err := r.Next()
		c.server.nextMessage()
		if err != nil {
			return c.afterError(err, c.server, r, c.client)
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

// afterError continues after an error of a Reader: the rest of the stream is copied unread.
// It returns nil at the end of the stream.
func (c *control) afterError(err error, from *end, r *rtsp.Reader, to *end) error {
	protocol := Other
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return writeRead(r, to)
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
	return c.copyUnread(from, r, to)
}

// isHTTP reports whether an HTTP message begins here.
func isHTTP(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.Contains(line, []byte("HTTP/1."))
}

// copyUnread copies the rest of a stream.
func (c *control) copyUnread(from *end, r *rtsp.Reader, to *end) error {
	c.unread.Store(true)
	if from == c.server {
		c.answers.end()
	}
	from.unread()
	if err := writeRead(r, to); err != nil {
		return err
	}
	return copyAll(to, from)
}

// writeRead writes what r has read, but not returned.
func writeRead(r *rtsp.Reader, to io.Writer) error {
	b, _ := r.Peek(0)
	return write(to, b)
}

// write writes b, unless it is empty.
func write(to io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := to.Write(b)
	return err
}

// copyAll copies with a small buffer: io.Copy takes 32 KiB, or two pipes for each connection.
func copyAll(to io.Writer, from io.Reader) error {
	b := make([]byte, copyBuffer)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

const copyBuffer = 4 << 10

// refused counts and logs that something was not opened.
func (c *control) refused(r Reason, err error) {
	c.mu.Lock()
	h := c.helper
	c.mu.Unlock()
	c.counters.refused(h, r)
	c.log.Debug("refused", "helper", h, "reason", r, "err", err)
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
		c.log.Debug("copied unread", "helper", h, "protocol", p, "err", err)
	}
}

// setHelper moves the connection to the counters of another helper.
func (c *control) setHelper(h Helper) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counters.connections(c.helper, -1)
	c.counters.connections(h, 1)
	c.helper = h
}
