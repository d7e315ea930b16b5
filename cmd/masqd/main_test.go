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

func TestEndsInTime(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		f    func(context.Context) error
		want error
		took time.Duration
		said string
	}{
		{"by itself", func(context.Context) error { return broken }, broken, 0, ""},
		{"when it is told to", func(ctx context.Context) error { <-ctx.Done(); return broken }, broken, time.Hour, ""},
		{"late", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(shutdownTimeout / 2); return broken }, broken, time.Hour + shutdownTimeout/2, ""},
		{"too late", func(context.Context) error { time.Sleep(2 * time.Hour); return broken }, nil, time.Hour + shutdownTimeout, "the rules stay"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var out bytes.Buffer
				begun := time.Now()
				err := endInTime(ctx, slog.New(slog.NewTextHandler(&out, nil)), c.f)
				if took := time.Since(begun); !errors.Is(err, c.want) || took != c.took {
					t.Errorf("%v after %s, not %v after %s", err, took, c.want, c.took)
				}
				if !strings.Contains(out.String(), c.said) || c.said == "" && out.Len() > 0 {
					t.Errorf("it says %q", out.String())
				}
				time.Sleep(2 * time.Hour) // until nobody is left
			})
		})
	}
}
