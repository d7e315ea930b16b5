package reconcile

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestSweep(t *testing.T) {
	there := map[string]bool{"cni0": true, "veth1": true, "veth2": true}
	var deleted []string
	s := &Sweep{
		Exists: func(name string) (bool, error) { return there[name], nil },
		Delete: func(k masq.Key) error { deleted = append(deleted, k.ContainerID); return nil },
		Grace:  time.Minute,
		Log:    slog.New(slog.DiscardHandler),
	}
	rec := func(id string, ready bool, links ...string) store.Record {
		r := record(id)
		r.Ready, r.Links = ready, links
		return r
	}
	moving := rec("moving", false, "cni0")
	moving.Chained = true
	records := []store.Record{
		rec("alive", true, "cni0", "veth1"), rec("dies", true, "cni0", "veth2"), moving, rec("unknown", true),
	}
	now := time.Unix(0, 0)
	run := func(want ...string) {
		t.Helper()
		deleted = nil
		if n, err := s.Run(now, snapshot(records...).Records); err != nil || n != len(want) || !slices.Equal(deleted, want) {
			t.Errorf("at %s: swept %v, %v; not %v", now, deleted, err, want)
		}
	}
	run()
	there["veth2"] = false
	run()
	now = now.Add(59 * time.Second)
	run()
	there["veth2"] = true // it comes back: the time begins anew
	run()
	there["veth2"] = false
	now = now.Add(30 * time.Second)
	run()
	now = now.Add(61 * time.Second)
	run("dies")
}

// A plugin that died before its record was ready left no link; one at work makes it,
// or is done, within the grace.
func TestSweepOfWhatNeverWasReady(t *testing.T) {
	there := map[string]bool{}
	var deleted []string
	s := &Sweep{
		Exists: func(name string) (bool, error) { return there[name], nil },
		Delete: func(k masq.Key) error { deleted = append(deleted, k.ContainerID); return nil },
		Grace:  time.Minute,
		Log:    slog.New(slog.DiscardHandler),
	}
	died, works := record("died"), record("works")
	died.Ready, works.Ready = false, false
	records := snapshot(died, works).Records
	now := time.Unix(0, 0)
	for _, step := range []time.Duration{0, 59 * time.Second, 2 * time.Second} {
		now = now.Add(step)
		if step == 2*time.Second {
			there[works.HostName()] = true
		}
		if _, err := s.Run(now, records); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(deleted, []string{"died"}) {
		t.Errorf("swept %q", deleted)
	}
}
