package nft

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

func TestWatch(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan Event, 1000)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, func(e Event) { events <- e }) }()

	// What this connection does is no news; neither is what others do elsewhere.
	want := ruleset.For([]masq.Attachment{attachment("a", masq.Default(), "10.88.0.5")}, ruleset.Sources{}, everyEgress)
	if _, err := c.Apply(want); err != nil {
		t.Fatal(err)
	}
	nftables(t, "table inet other { chain masq { }; }\ntable ip masq { chain c { }; }", "-f", "-")
	for _, change := range []string{
		"add element inet masq policy4 { 10.1.1.1 : goto policy-" + masq.Default().ID() + " }",
		"insert rule inet masq postrouting accept",
		"delete set inet masq never2",
		"flush ruleset",
	} {
		if change == "delete set inet masq never2" {
			nftables(t, "add set inet masq never2 { type ipv4_addr; }", "-f", "-")
		}
		nftables(t, change, "-f", "-")
		select {
		case e := <-events:
			if e.Lost || e.Plugin {
				t.Errorf("%s: %+v", change, e)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: not told", change)
		}
		for len(events) > 0 {
			<-events
		}
	}
	// A program of the plugin's name.
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(t.TempDir(), pluginName)
	if err := os.Symlink(path, plugin); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(plugin, "add", "table", "inet", "masq").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	select {
	case e := <-events:
		if !e.Plugin {
			t.Errorf("the plugin's change is told as %+v", e)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the plugin's change is not told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The watcher's own and foreign news do not come before those of the table: the
// first event of TestWatch would be theirs.
func TestWatchIsSilentAboutItself(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan Event, 1000)
	go func() { _ = w.Run(ctx, func(e Event) { events <- e }) }()
	for range 20 {
		if _, err := c.Apply(ruleset.For([]masq.Attachment{attachment("a", masq.Default(), "10.88.0.5")}, ruleset.Sources{}, everyEgress)); err != nil {
			t.Fatal(err)
		}
		if err := c.Uninstall(); err != nil {
			t.Fatal(err)
		}
	}
	nftables(t, "table inet masq { }", "-f", "-") // the one to be told of
	select {
	case <-events:
	case <-time.After(5 * time.Second):
		t.Fatal("not told")
	}
	if n := len(events); n > 0 {
		t.Errorf("told %d times of what it did itself", n)
	}
}

func TestWatchSaysWhatItLost(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads while more happens than there is room for.
	raw, err := w.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { smallBuffer(t, int(fd)) }); err != nil {
		t.Fatal(err)
	}
	nftables(t, ruleset.For(several(t), ruleset.Sources{}, everyEgress).String(), "-f", "-")
	for range 20 {
		nftables(t, "flush ruleset", "-f", "-")
		nftables(t, ruleset.For(several(t), ruleset.Sources{}, everyEgress).String(), "-f", "-")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	lost, later := false, false
	if err := w.Run(ctx, func(e Event) {
		switch {
		case e.Lost && !lost:
			lost = true
			// What happens from here on is told: whoever looks now misses nothing.
			nftables(t, "flush ruleset", "-f", "-")
		case lost:
			later = true
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !lost || !later {
		t.Errorf("said to be lost: %t; heard of what came later: %t", lost, later)
	}
}

func smallBuffer(t *testing.T, fd int) {
	t.Helper()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4096); err != nil {
		t.Error(err)
	}
}

// While a large transaction of its own is made, nothing is listened to, and
// afterwards everything is.
func TestWatchAfterALargeChange(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := 0
	changes := 0
	for i := range 3 {
		all := many(400 + i)
		if _, err := c.Apply(ruleset.For(all, ruleset.Sources{}, everyEgress)); err != nil {
			t.Fatal(err)
		}
		nftables(t, "flush ruleset", "-f", "-")
		changes++
	}
	if err := w.Run(ctx, func(e Event) {
		if e.Lost {
			t.Error("something was lost")
		}
		if heard++; heard == changes {
			cancel()
		}
	}); err != nil || heard != changes {
		t.Errorf("heard of %d of %d changes, %v", heard, changes, err)
	}
}
