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
	records := []store.Record{
		rec("alive", true, "cni0", "veth1"), rec("dies", true, "cni0", "veth2"), rec("moving", false, "veth3"), rec("unknown", true),
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
