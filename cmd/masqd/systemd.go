package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// tellSystemd says when the daemon is ready, and as long as looks end: where
// systemd runs it, and asks for that.
func tellSystemd(ctx context.Context, loop *reconcile.Loop, log *slog.Logger) error {
	asked, err := daemon.SdNotify(false, "STATUS=looking for the first time")
	if err != nil || !asked {
		return err
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	every := time.Second
	if interval > 0 {
		every = interval / 3
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ready := false
	for {
		s := loop.Stats()
		if !ready && !s.LastSync.IsZero() {
			ready = true
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=the kernel agrees with the records"); err != nil {
				return err
			}
			log.Debug("systemd was told that the daemon is ready")
		}
		if interval > 0 && !s.IsStuck(time.Now()) {
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				return err
			}
		}
		if ready && interval == 0 {
			// Nothing more to say until the end.
			tick.Stop()
		}
		select {
		case <-ctx.Done():
			_, err := daemon.SdNotify(false, daemon.SdNotifyStopping)
			return err
		case <-tick.C:
		}
	}
}
