// Command masqd is the node daemon: it keeps the kernel in agreement with the records of
// attachments and the node's configuration. See package daemon.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masqd/internal/daemon"
)

// The build sets both.
var (
	buildVersion = "dev"
	buildCommit  = "unknown"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, env []string, stdout, stderr io.Writer) int {
	// SIGTERM and SIGINT end the daemon; the rules stay.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := newCommand(env, stderr, func(ctx context.Context, c *daemon.Config, log *slog.Logger) error {
		return endInTime(ctx, log, func(ctx context.Context) error { return daemon.Run(ctx, c, log) })
	})
	c.SetArgs(twoHyphens(args))
	c.SetOut(stdout)
	c.SetErr(stderr)
	if err := c.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "masqd:", err)
		return 1
	}
	return 0
}

// shutdownTimeout is how long the daemon may take to end. Reading the records of tens of
// thousands of attachments, or a sync of them, takes longer. Both can be abandoned at any
// point: the kernel applies a transaction completely or not at all.
const shutdownTimeout = 600 * time.Millisecond

// endInTime returns what f returns, or nil if f is still running shutdownTimeout after the
// end of its context.
func endInTime(ctx context.Context, log *slog.Logger, f func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(shutdownTimeout):
		log.Info("ended without waiting for unfinished work; the rules stay")
		return nil
	}
}
