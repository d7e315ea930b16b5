package nstest

import (
	"bufio"
	"context"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestSuspend suspends a program that writes continuously: its threads have stopped, and it
// writes again after Resume.
func TestSuspend(t *testing.T) {
	n := assert.Must(New(t).Namespace("writer"))(t)
	c := n.Command(context.WithoutCancel(t.Context()), "sh", "-c", "while echo line; do :; done")
	out := assert.Must(c.StdoutPipe())(t)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no output")
	}
	if err := c.Suspend(); err != nil {
		t.Fatal(err)
	}
	if running, err := runningThread(c.Process.Pid); err != nil || running != "" {
		t.Errorf("suspended: %q, %v", running, err)
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	for range 1 << 17 { // more lines than the pipe and the scanner hold
		if !lines.Scan() {
			t.Fatalf("no output after Resume: %v", lines.Err())
		}
	}
}
