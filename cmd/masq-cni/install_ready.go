package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// poll is how often masqd is asked whether it is ready.
const poll = 500 * time.Millisecond

// masqdHost stands for masqd in a request over a Unix socket.
const masqdHost = "http://masqd/readyz"

// readySocket returns the path of the Unix socket that --ready-url names, if it does.
func readySocket(s string) (path string, ok bool) { return strings.CutPrefix(s, "unix:") }

// checkURL reports what is wrong with --ready-url.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	if path, ok := readySocket(s); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("--ready-url: %q is not the absolute path of a socket such as unix:/run/masq-cni/masqd.sock", path)
		}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("--ready-url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--ready-url %q is not a URL such as http://127.0.0.1:9468/readyz, nor unix: and the path of masqd's socket", s)
	}
	return nil
}

// awaitReady waits until masqd says that it is ready, and says why it has to wait.
func awaitReady(ctx context.Context, at string, report installReport) error {
	if at == "" {
		return nil
	}
	client := readyClient(at)
	last := ""
	for {
		why := unready(ctx, client, at)
		if why == "" {
			return nil
		}
		if why != last && ctx.Err() == nil {
			report.waitingForMasqd(at, why)
			last = why
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("masqd is not ready at %s: %s; give --ready-url '' to not wait for it", at, last)
		case <-time.After(poll):
		}
	}
}

// readyClient is a client for --ready-url. It ignores the proxies of the environment: masqd
// is on this node.
func readyClient(at string) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if path, ok := readySocket(at); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: transport}
}

// unready is why masqd is not ready; empty when it is.
func unready(ctx context.Context, client *http.Client, at string) string {
	if _, ok := readySocket(at); ok {
		at = masqdHost
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the address is said beside it
		}
		return err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode == http.StatusOK {
		return ""
	}
	var says struct{ Reasons []string }
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // what there is of it
	if json.Unmarshal(body, &says) == nil && len(says.Reasons) > 0 {
		return strings.Join(says.Reasons, "; ")
	}
	return answer.Status + " " + masq.Clip(strings.TrimSpace(string(body)))
}
