package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestOverflow writes and removes more records than the inotify queue holds, before Run
// reads it. When Run reports the loss, the cache has the records of the disk.
func TestOverflow(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Put(record("stays")), r.Put(record("changes")), r.Put(record("goes"))); err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(r)
	if err != nil {
		t.Fatal(err)
	}
	c.takeChanges()
	for range limit / 2 { // each iteration makes more than two events
		if err := errors.Join(r.Put(record("noise")), r.Delete(record("noise").Key)); err != nil {
			t.Fatal(err)
		}
	}
	changed := record("changes")
	changed.Addresses = []netip.Addr{netip.MustParseAddr("10.88.0.6")}
	if err := errors.Join(r.Put(changed), r.Put(record("comes")), r.Delete(record("goes").Key)); err != nil {
		t.Fatal(err)
	}

	contents := func() (out []string) {
		for _, x := range c.Snapshot().Records {
			out = append(out, x.ContainerID+" "+x.Addresses[0].String())
		}
		slices.Sort(out)
		return out
	}
	var before, after []string
	known := contents()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Run(ctx, func(lost bool) {
		if before = known; lost {
			after = contents()
			cancel()
			return
		}
		known = contents()
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"changes 10.88.0.5", "goes 10.88.0.5", "stays 10.88.0.5"}; !slices.Equal(before, want) {
		t.Errorf("before the loss is reported the cache has %q, want %q: the events were not lost", before, want)
	}
	if want := []string{"changes 10.88.0.6", "comes 10.88.0.5", "stays 10.88.0.5"}; !slices.Equal(after, want) {
		t.Errorf("after the loss the cache has %q, want %q", after, want)
	}
	var ids []string
	for _, x := range c.takeChanges() {
		for _, r := range []*store.Record{x.before, x.after} {
			if r != nil && !slices.Contains(ids, r.ContainerID) {
				ids = append(ids, r.ContainerID)
			}
		}
	}
	slices.Sort(ids)
	if want := []string{"changes", "comes", "goes"}; !slices.Equal(ids, want) {
		t.Errorf("takeChanges returns %q, want %q", ids, want)
	}
}
