package nstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestCommandRunsInside(t *testing.T) {
	n := assert.Must(New(t).Namespace("a"))(t)
	out := assert.Must(n.Command(t.Context(), "readlink", "/proc/self/ns/net").Output())(t)
	if want := fmt.Sprintf("net:[%d]", inode(t, n.Path())); strings.TrimSpace(string(out)) != want {
		t.Errorf("ran in %s, want %s", out, want)
	}
	out, err := n.Command(t.Context(), "sh", "-c", "echo out; echo why >&2; exit 3").Output()
	if err == nil || !strings.Contains(err.Error(), "why") || string(out) != "out\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if err := n.Command(t.Context(), "/no/such/program").Run(); err == nil {
		t.Error("a missing program runs")
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	n := assert.Must(New(t).Namespace("a"))(t)
	ctx, cancel := context.WithCancel(t.Context())
	// The shell's child holds the output open: it must be killed too.
	c := n.Command(ctx, "sh", "-c", "sleep 1000; true")
	c.Stdout = new(strings.Builder)
	assert.NoError(t, c.Start())
	cancel()
	if err := c.Wait(); !errors.Is(err, context.Canceled) && !strings.Contains(fmt.Sprint(err), "killed") {
		t.Errorf("ended with %v", err)
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	lab := New(t)
	n := assert.Must(lab.Namespace("a"))(t)
	var space unix.Stat_t
	assert.NoError(t, unix.Stat(n.Path(), &space))
	// One program in the group, and one that became a daemon as servers do.
	c := n.Command(t.Context(), "sh", "-c", "setsid sleep 1000 & echo ready; exec sleep 1000")
	out := assert.Must(c.StdoutPipe())(t)
	assert.NoError(t, c.Start())
	if line := assert.Must(bufio.NewReader(out).ReadString('\n'))(t); line != "ready\n" {
		t.Fatalf("said %q", line)
	}
	if len(processesIn(space)) < 2 {
		t.Fatal("the programs do not run")
	}
	assert.NoError(t, lab.Close())
	if left := processesIn(space); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if err := c.Start(); !errors.Is(err, ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

func processesIn(space unix.Stat_t) (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && inside(pid, space) {
			pids = append(pids, pid)
		}
	}
	return pids
}
