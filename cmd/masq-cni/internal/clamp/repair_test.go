package clamp

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// attached gives the test its own network namespace with the record of an attachment that has
// no rules.
func attached(t *testing.T) (stateDir string, records *store.Records) {
	t.Helper()
	runtime.LockOSThread() // the thread ends with the test, and so does the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v: this test needs root", err)
	}
	stateDir = t.TempDir()
	records, err := store.Open(stateDir)
	if err != nil {
		t.Fatal(err)
	}
	p := masq.Default()
	err = records.Put(store.Record{
		Attachment: masq.Attachment{
			Key:       masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"},
			Addresses: []netip.Addr{netip.MustParseAddr("10.88.0.5")}, Policy: &p,
		},
		Chained: true, Ready: true, Created: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return stateDir, records
}

// differences returns the number of differences of the table from the desired state.
func differences(t *testing.T, stateDir string) int {
	t.Helper()
	s, err := (&node.Node{StateDir: stateDir}).SnapshotWithoutNote()
	if err != nil {
		t.Fatal(err)
	}
	d := s.Desired()
	all, err := node.QueryRules(func(c *nft.Conn) ([]nft.Difference, error) { return c.Drift(d.Table, d.Pending) })
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestRepair(t *testing.T) {
	dir, records := attached(t)
	if differences(t, dir) == 0 {
		t.Fatal("the rules are not missing")
	}
	lock, err := records.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := Repair(t.Context(), dir); !errors.Is(err, store.ErrLocked) {
		t.Errorf("while masqd runs: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Repair(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if n := differences(t, dir); n != 0 {
			t.Errorf("%d differences are left", n)
		}
	}
}

func TestSet(t *testing.T) {
	dir, records := attached(t)
	p := netip.MustParsePrefix("198.51.100.0/24")
	if err := Set(t.Context(), dir, p, 47); err == nil {
		t.Error("47 bytes are accepted")
	}
	if err := Set(t.Context(), dir, p, 172); err != nil {
		t.Fatal(err)
	}
	if c, err := records.MSSClamps(); err != nil || c[p] != 172 || differences(t, dir) != 0 {
		t.Errorf("%v, %v, %d differences", c, err, differences(t, dir))
	}
	if left, err := unapplied(dir); left != 0 || err != nil {
		t.Errorf("%d, %v", left, err)
	}
	if err := remove(t.Context(), dir, p); err != nil {
		t.Fatal(err)
	}
	if err := remove(t.Context(), dir, p); err == nil {
		t.Error("a clamp is deleted twice")
	}
	if c, err := records.MSSClamps(); err != nil || len(c) != 0 || differences(t, dir) != 0 {
		t.Errorf("%v, %v, %d differences", c, err, differences(t, dir))
	}
}

// TestUnapplied: while the running masqd has not applied a clamp, there are differences.
func TestUnapplied(t *testing.T) {
	dir, records := attached(t)
	if err := Repair(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	err := records.UpdateMSSClamps(func(c masq.MSSClamps) error {
		c[netip.MustParsePrefix("198.51.100.0/24")] = 172
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := unapplied(dir); left == 0 || err != nil {
		t.Errorf("%d, %v", left, err)
	}
	if err := Repair(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if left, err := unapplied(dir); left != 0 || err != nil {
		t.Errorf("%d, %v", left, err)
	}
}
