package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// poll is how often masqd is asked whether it is ready.
const poll = 500 * time.Millisecond

// checkURL reports what is wrong with --ready-url.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("--ready-url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--ready-url %q is not a URL such as http://127.0.0.1:9468/readyz", s)
	}
	return nil
}

// awaitReady waits until masqd says that it is ready, and says why it has to wait.
func awaitReady(ctx context.Context, at string, report installReport) error {
	if at == "" {
		return nil
	}
	// Without what the environment says of proxies: masqd is on this node.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
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

// unready is why masqd is not ready; empty when it is.
func unready(ctx context.Context, client *http.Client, at string) string {
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
