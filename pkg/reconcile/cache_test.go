package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func record(id string) store.Record {
	p := masq.Default()
	return store.Record{
		Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Policy: &p, Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5")}},
		Ready:      true,
	}
}

// waitForRecords waits until the cache has this number of records, and all are readable.
func waitForRecords(t *testing.T, c *Cache, changes <-chan bool, want int) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		all := c.Snapshot()
		if !c.HasUnreadable() && len(all.Records) == want {
			return
		}
		select {
		case <-changes:
		case <-deadline:
			t.Fatalf("the cache has %d records, %v cannot be read; want %d", len(all.Records), c.Unreadable(), want)
		}
	}
}

// TestPoliciesAreShared: attachments share the memory of equal policies. Policies of
// networks that allow other annotations are not equal: the annotations decide whether a pod
// may opt out of translation.
func TestPoliciesAreShared(t *testing.T) {
	node := masq.Default()
	node.SNATAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	lists := map[string][]string{"allows": {masq.EgressAnnotation}, "default": nil, "forbids": {}, "allows too": {masq.EgressAnnotation}}
	var records []store.Record
	for id, list := range lists {
		r := record(id)
		r.Policy.Node, r.Policy.EgressDirect, r.Policy.AllowAnnotations = true, true, list
		records = append(records, r)
	}
	all := newLoop(t, &fakeKernel{}, records...).deps.Records.Snapshot().Records
	shared := map[*masq.Policy]bool{}
	for _, r := range all {
		shared[r.Policy] = true
	}
	if len(shared) != 3 {
		t.Errorf("%d policies in memory", len(shared))
	}
	for _, a := range (NodeConfig{Policy: &node}).Attachments(all) {
		if want := len(lists[a.ContainerID]) > 0; a.Policy.EgressDirect != want {
			t.Errorf("%s: direct %t", a.ContainerID, a.Policy.EgressDirect)
		}
	}
}

// TestCacheRun: the cache has the records of the directory, however these change.
func TestCacheRun(t *testing.T) {
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Put(record("before")); err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, ended := make(chan bool, 10000), make(chan error, 1)
	go func() { ended <- c.Run(ctx, func(lost bool) { changes <- lost }) }()
	waitForRecords(t, c, changes, 1)
	for i := range 50 {
		if err := r.Put(record(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	waitForRecords(t, c, changes, 51)
	for i := range 50 {
		if err := r.Delete(record(fmt.Sprint(i)).Key); err != nil {
			t.Fatal(err)
		}
	}
	waitForRecords(t, c, changes, 1)

	// A damaged record does not hide the others, and can be written again.
	if err := r.Put(record("damaged")); err != nil {
		t.Fatal(err)
	}
	waitForRecords(t, c, changes, 2)
	path := newest(t, r.Dir())
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for !c.HasUnreadable() {
		<-changes
	}
	if all := c.Snapshot().Records; len(all) != 1 {
		t.Errorf("with a damaged record there are %d", len(all))
	}
	if err := r.Put(record("damaged")); err != nil {
		t.Fatal(err)
	}
	waitForRecords(t, c, changes, 2)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestReload: an unchanged record keeps its pointer, and a record that changed without an
// event is read.
func TestReload(t *testing.T) {
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := r.Put(record(id)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := NewCache(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.watcher.Close() }()
	before := c.Snapshot()
	reload := func() Snapshot {
		t.Helper()
		if err := c.Reload(); err != nil {
			t.Fatal(err)
		}
		return c.Snapshot()
	}
	if s := reload(); s.Version != before.Version || !slices.Equal(s.Records, before.Records) {
		t.Errorf("without a change the version is %d, and was %d", s.Version, before.Version)
	}
	changed := record("b")
	changed.Addresses = []netip.Addr{netip.MustParseAddr("10.88.0.6")}
	if err := errors.Join(r.Put(changed), r.Delete(record("c").Key), r.Put(record("d"))); err != nil {
		t.Fatal(err)
	}
	after := reload()
	var ids []string
	for _, x := range after.Records {
		ids = append(ids, x.ContainerID+" "+x.Addresses[0].String())
	}
	if want := []string{"a 10.88.0.5", "b 10.88.0.6", "d 10.88.0.5"}; !slices.Equal(ids, want) || after.Version == before.Version {
		t.Errorf("read %q", ids)
	}
	if after.Records[0] != before.Records[0] || after.Records[1] == before.Records[1] {
		t.Error("an unchanged record has another pointer, or a changed one the same")
	}
	if after.Records[0].Policy != after.Records[2].Policy {
		t.Error("two records with equal policies do not share one")
	}
}

// newest returns the file that was written last.
func newest(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var path string
	var at time.Time
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().After(at) {
			path, at = filepath.Join(dir, e.Name()), info.ModTime()
		}
	}
	return path
}

// TestRefresh: after Refresh the cache has what was written before, although no event was
// read.
func TestRefresh(t *testing.T) {
	r, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.watcher.Close() }()
	for i := range 20 {
		if err := errors.Join(r.Put(record(fmt.Sprint(i))), c.Refresh()); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Snapshot().Records); n != i+1 {
			t.Fatalf("after %d records the cache has %d", i+1, n)
		}
	}
}
