package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
)

// notifySystemd tells systemd when the first sync has succeeded, and feeds its watchdog
// while syncs make progress. Without systemd it returns at once.
func notifySystemd(ctx context.Context, stats func() reconcile.Stats, log *slog.Logger) error {
	listens, err := daemon.SdNotify(false, "STATUS=first sync")
	if err != nil || !listens {
		return err
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	interval := time.Second
	if watchdog > 0 {
		interval = watchdog / 3
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	ready := false
	for {
		s := stats()
		if !ready && !s.LastSync.IsZero() {
			ready = true
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=the kernel agrees with the records"); err != nil {
				return err
			}
			log.Debug("systemd notified", "state", "ready")
		}
		if watchdog > 0 && !s.IsStuck(time.Now()) {
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				return err
			}
		}
		if ready && watchdog == 0 {
			tick.Stop() // no more notifications until the end
		}
		select {
		case <-ctx.Done():
			_, err := daemon.SdNotify(false, daemon.SdNotifyStopping)
			return err
		case <-tick.C:
		}
	}
}
