package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndInTime checks that masqd exits shutdownTimeout after its signal, and that it reports an
// error if it ends earlier.
func TestEndInTime(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		f    func(context.Context) error
		want error
		took time.Duration
		log  string
	}{
		{"with an error", func(context.Context) error { return broken }, broken, 0, ""},
		{"on the signal", func(ctx context.Context) error { <-ctx.Done(); return broken }, broken, time.Hour, ""},
		{"within the timeout", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(shutdownTimeout / 2); return broken }, broken, time.Hour + shutdownTimeout/2, ""},
		{"after the timeout", func(context.Context) error { time.Sleep(2 * time.Hour); return broken }, nil, time.Hour + shutdownTimeout, "the rules stay"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var out bytes.Buffer
				start := time.Now()
				err := endInTime(ctx, slog.New(slog.NewTextHandler(&out, nil)), c.f)
				if took := time.Since(start); !errors.Is(err, c.want) || took != c.took {
					t.Errorf("%v after %s, want %v after %s", err, took, c.want, c.took)
				}
				if !strings.Contains(out.String(), c.log) || c.log == "" && out.Len() > 0 {
					t.Errorf("log: %q", out.String())
				}
				time.Sleep(2 * time.Hour) // until all goroutines have ended
			})
		})
	}
}
