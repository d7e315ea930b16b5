package install

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
)

// readyInterval is the time between two questions to masqd whether it is ready.
const readyInterval = 500 * time.Millisecond

// checkURL reports what is wrong with --ready-url.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	if path, ok := masqd.SocketPath(s); ok {
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
		return fmt.Errorf("--ready-url %q is neither a URL such as http://127.0.0.1:9468/readyz, nor unix: and the path of masqd's socket", s)
	}
	return nil
}

// awaitReady waits until masqd is ready, and reports each reason for the wait once.
func awaitReady(ctx context.Context, at string, report reporter) error {
	if at == "" {
		return nil
	}
	client := masqd.NewClient(at)
	last := ""
	for {
		r, err := client.Ready(ctx)
		why := strings.Join(r.Reasons, "; ")
		if err != nil {
			why = err.Error()
		}
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
		case <-time.After(readyInterval):
		}
	}
}
