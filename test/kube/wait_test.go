package kube

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// patience bounds work that takes seconds, on a slow machine too.
const patience = 5 * time.Minute

// soon returns a context for work that takes seconds; its end fails the test.
func soon(t testing.TB) context.Context { return within(t, patience) }

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// until waits for a condition, and reports the last error at the timeout.
func until(t testing.TB, patience time.Duration, what string, f func() error) {
	t.Helper()
	ctx := within(t, patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("timeout: waited until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
