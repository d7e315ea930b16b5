package daemon

import (
	"context"
	"fmt"
	"sync"
)

// Task is a part of the daemon.
type Task struct {
	Name string
	// Run returns when the context ends, or with an error that ends the daemon. A task may
	// return nil earlier if it has nothing to do.
	Run func(context.Context) error
}

// runTasks runs tasks until the context ends or a task fails, and waits for all of them.
// The error names the task that failed first.
func runTasks(ctx context.Context, tasks []Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		first   error
	)
	for _, t := range tasks {
		running.Go(func() {
			err := t.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && ctx.Err() == nil { // errors after the end are its consequence
				first = fmt.Errorf("%s: %w", t.Name, err)
				cancel()
			}
		})
	}
	running.Wait()
	return first
}
