package masqd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// answerTimeout is how long masqd may take to answer. A busy node needs seconds.
const answerTimeout = 5 * time.Second

// socketURL is the URL of a request that is sent over a connection to masqd.
const socketURL = "http://masqd/readyz"

// Client asks a masqd whether it is ready.
type Client struct {
	http *http.Client
	url  string
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newClient ignores the proxies of the environment: masqd runs on this node.
func newClient(url string, dial dialFunc) *Client {
	return &Client{url: url, http: &http.Client{Timeout: answerTimeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}}
}

// NewClient returns a client for the URL of /readyz, or for unix: and the path of a socket.
func NewClient(at string) *Client {
	path, ok := SocketPath(at)
	if !ok {
		return newClient(at, nil)
	}
	return newClient(socketURL, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
}

// SocketPath returns the path of the Unix socket that an address names; ok is false for
// other addresses.
func SocketPath(at string) (path string, ok bool) { return strings.CutPrefix(at, "unix:") }

// Readiness is an answer of /readyz.
type Readiness struct {
	// Reasons tell why masqd is not ready. Empty if it is ready.
	Reasons []string
	Losses  *report.Losses // nil if unknown
}

// Ready asks masqd. The error means that it did not answer.
func (c *Client) Ready(ctx context.Context) (r Readiness, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return r, err
	}
	answer, err := c.http.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the caller names the address
	}
	if err != nil {
		return r, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // an incomplete answer is no JSON
	var body struct {
		Reasons []string
		Losses  report.Losses
	}
	if json.Unmarshal(text, &body) == nil {
		r.Losses = &body.Losses
	}
	switch {
	case answer.StatusCode == http.StatusOK:
	case len(body.Reasons) > 0:
		r.Reasons = body.Reasons
	default:
		r.Reasons = []string{strings.TrimSpace(answer.Status + " " + masq.Clip(strings.TrimSpace(string(text))))}
	}
	return r, nil
}

// readyAt asks the masqd that listens on an address, in the form of its --listen. Without
// an address that can be dialed it returns no reasons.
func readyAt(ctx context.Context, listen string) (r Readiness, err error) {
	network, address, ok := dialable(listen)
	if !ok {
		return r, nil
	}
	// The thread of the calling goroutine may be in another network namespace than the
	// process; net/http dials in another goroutine.
	c, err := (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return r, err
	}
	defer func() { _ = c.Close() }()
	return newClient(socketURL, func(context.Context, string, string) (net.Conn, error) { return c, nil }).Ready(ctx)
}

// dialable returns the network and the address to dial for an address that a masqd of this
// node listens on; ok is false if there are none.
func dialable(listen string) (network, address string, ok bool) {
	if path, ok := SocketPath(listen); ok {
		return "unix", path, true
	}
	at, err := netip.ParseAddrPort(listen)
	if err != nil {
		return "", "", false
	}
	if at.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if at.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		at = netip.AddrPortFrom(loopback, at.Port())
	}
	return "tcp", at.String(), true
}
