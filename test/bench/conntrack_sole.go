package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// The tasks of a process that does nothing else: words of its command line.
const (
	soleWord    = "sole"
	soleSummary = "summary by attachment"
	soleList    = "ConntrackTableList"
)

// sole reads the table of the thread's namespace once, and prints by how many MB the process's peak
// memory rose, and the number of allocations per flow.
func sole(ctx context.Context, what, state string, stdout io.Writer) error {
	owners, err := ownersIn(state)
	if err != nil {
		return err
	}
	c, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	var none, tally *report.Tally
	read := listAll
	if what == soleSummary {
		read = func() error {
			tally = report.NewTally(owners)
			return sum(ctx, c, conntrack.Filter{}, tally)
		}
	}
	debug.FreeOSMemory()
	// 5 resets the peak to the present resident size (proc_pid_clear_refs(5)).
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	before, err := status("self", "VmRSS:")
	if err != nil {
		return err
	}
	allocations, err := allocated(read)
	if err != nil {
		return err
	}
	peak, err := status("self", "VmHWM:")
	if err != nil {
		return err
	}
	if what == soleSummary {
		if err := allThere(tally); err != nil {
			return err
		}
		debug.SetGCPercent(-1) // the garbage collector allocates too
		// No flow has a mark, so one of two similar filters excludes no flow, and the other
		// all.
		none = report.NewTally(owners)
		nothing := func() error { return sum(ctx, c, conntrack.Filter{Mark: 1, MarkMask: 1}, none) }
		if err := nothing(); err != nil { // the first request with a filter allocates a larger buffer
			return err
		}
		empty, err := allocated(nothing)
		if err != nil {
			return err
		}
		allocations, err = allocated(func() error { return sum(ctx, c, conntrack.Filter{MarkMask: 1}, tally) })
		if err != nil {
			return err
		}
		if tally.Flows != 2*tracked || none.Flows != 0 {
			return fmt.Errorf("%d and %d flows", tally.Flows, none.Flows)
		}
		allocations -= empty
	}
	_, err = fmt.Fprintln(stdout, (peak-before)/1e6, allocations/tracked)
	return err
}

// allocated returns the number of allocations of f.
func allocated(f func() error) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs), err
}

// status returns a size of a process in bytes.
func status(process, name string) (float64, error) {
	path := filepath.Join("/proc", process, "status")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name {
			kb, err := strconv.ParseFloat(string(f[1]), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}
