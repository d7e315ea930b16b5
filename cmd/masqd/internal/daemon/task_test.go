package daemon

import (
	"context"
	"errors"
	"testing"
)

// TestFailingTaskEndsDaemon checks that the other tasks end, and that the error names the
// task that failed.
func TestFailingTaskEndsDaemon(t *testing.T) {
	broken := errors.New("socket closed")
	ended := make(chan string, 3)
	waits := func(name string, err error) Task {
		return Task{name, func(ctx context.Context) error {
			<-ctx.Done()
			ended <- name
			return err
		}}
	}
	err := runTasks(t.Context(), []Task{
		waits("sync", nil),
		{"links", func(context.Context) error { return broken }},
		{"systemd", func(context.Context) error { return nil }},
		waits("rules", errors.New("an error after the end")),
	})
	if !errors.Is(err, broken) || err.Error() != "links: socket closed" {
		t.Errorf("error: %v", err)
	}
	if len(ended) != 2 {
		t.Errorf("%d of 2 other tasks have ended", len(ended))
	}
}

// TestTasksEndWithContext checks that the end of the context is not an error, and that a task
// which returns early does not end the others.
func TestTasksEndWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := runTasks(ctx, []Task{
		{"systemd", func(context.Context) error { return nil }},
		{"sync", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}},
	})
	if err != nil {
		t.Error(err)
	}
}
