package nstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Transfer is the result of a download or an upload, also of a failed one.
type Transfer struct {
	Bytes    int64 // bytes that arrived at the receiver
	Duration time.Duration
	Local    netip.AddrPort // the client's local address
}

// Download fetches size bytes from a TCPServer. If the context ends first, it returns an error,
// and Bytes is the number of bytes that had arrived.
func (n *NS) Download(ctx context.Context, server netip.AddrPort, size int64) (Transfer, error) {
	return n.transfer(ctx, server, func(c net.Conn) (int64, error) {
		if _, err := fmt.Fprintf(c, "GET %d\n", size); err != nil {
			return 0, err
		}
		got, err := io.Copy(io.Discard, c)
		if err == nil && got != size {
			err = io.ErrUnexpectedEOF
		}
		return got, err
	})
}

// Upload sends size bytes to a TCPServer, which reports how many arrived. Bytes is 0 without that
// report.
func (n *NS) Upload(ctx context.Context, server netip.AddrPort, size int64) (Transfer, error) {
	return n.transfer(ctx, server, func(c net.Conn) (got int64, err error) {
		if _, err := io.WriteString(c, "PUT\n"); err != nil {
			return 0, err
		}
		if _, err := io.CopyN(c, zeros{}, size); err != nil {
			return 0, err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return 0, err
		}
		_, err = fmt.Fscan(c, &got)
		return got, err
	})
}

// Who returns the client's address as a TCPServer sees it. local is as for Dial.
func (n *NS) Who(ctx context.Context, local, server netip.AddrPort) (seen netip.AddrPort, err error) {
	c, err := n.Dial(ctx, "tcp", local, server)
	if err != nil {
		return seen, err
	}
	defer shut(c)
	defer bound(ctx, c)()
	if _, err := io.WriteString(c, "WHO\n"); err != nil {
		return seen, inContext(ctx, err)
	}
	// Read to the end, so that the server closes first: then the server has the TIME_WAIT
	// socket, and a fixed local port is free again.
	line, err := io.ReadAll(c)
	if err != nil {
		return seen, inContext(ctx, err)
	}
	return netip.ParseAddrPort(strings.TrimSpace(string(line)))
}

func (n *NS) transfer(ctx context.Context, server netip.AddrPort, f func(net.Conn) (int64, error)) (t Transfer, err error) {
	start := time.Now()
	defer func() { t.Duration = time.Since(start) }()
	c, err := n.Dial(ctx, "tcp", netip.AddrPort{}, server)
	if err != nil {
		return t, err
	}
	defer shut(c)
	defer bound(ctx, c)()
	t.Local = addrPort(c.LocalAddr())
	t.Bytes, err = f(c)
	return t, inContext(ctx, err)
}

// deadliner is a connection with a deadline.
type deadliner interface{ SetDeadline(time.Time) error }

// bound ends every wait on c when ctx ends, until the caller calls release.
func bound(ctx context.Context, c deadliner) (release func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// inContext returns the context's cause instead of an error that bound has caused.
func inContext(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
