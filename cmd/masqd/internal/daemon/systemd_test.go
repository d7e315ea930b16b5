package daemon

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/test/assert"
)

// TestSystemdNotifications checks that systemd is notified after the first sync and at the end.
func TestSystemdNotifications(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket := assert.Must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(t)
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	receive := func() string {
		b := make([]byte, 1024)
		n := assert.Must(socket.Read(b))(t)
		return string(b[:n])
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	stats := func() reconcile.Stats { return reconcile.Stats{LastSync: time.Unix(1, 0)} }
	go func() { ended <- notifySystemd(ctx, stats, slog.New(slog.DiscardHandler)) }()
	for _, want := range []string{"STATUS=first sync", "READY=1"} {
		if got := receive(); !strings.HasPrefix(got, want) {
			t.Errorf("notification %q, want %q", got, want)
		}
	}
	cancel()
	if got := receive(); got != "STOPPING=1" {
		t.Errorf("notification %q at the end", got)
	}
	assert.NoError(t, <-ended)
}

// Without systemd the task ends at once, which does not end the daemon.
func TestNoSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	assert.NoError(t, notifySystemd(t.Context(), nil, slog.New(slog.DiscardHandler)))
}
