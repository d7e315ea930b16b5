package natlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// TestDiskFull: the disk is full for some time. The test runs itself again in another mount
// namespace, in which it mounts a tmpfs of 1 MiB.
func TestDiskFull(t *testing.T) {
	if os.Getenv(fullEnv) == "" {
		cmd := exec.Command(assert.Must(os.Executable())(t), "-test.run=^TestDiskFull$", "-test.v")
		cmd.Env = append(os.Environ(), fullEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v; this test needs root\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	assert.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	defer func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	o := small
	o.MaxTotalBytes, o.QueueRecords = 1<<30, 4*batchRecords
	w := openLog(t, dir, o)

	ballast := filepath.Join(dir, "ballast")
	assert.NoError(t, os.WriteFile(ballast, make([]byte, 300<<10), 0o600))
	var taken, lost uint64
	var firstLost, lastLost Record
	for n := uint64(0); lost < 5000; n++ {
		r := numbered(n)
		switch err := w.Append(&r); {
		case errors.Is(err, ErrLost):
			if lost == 0 {
				firstLost = r
			}
			lost, lastLost = lost+1, r
		case err != nil:
			t.Fatal(err)
		default:
			if taken++; taken%1000 == 0 {
				if err := w.Flush(); err != nil && !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
			}
		}
	}
	if s := w.Stats(); !errors.Is(s.Err, unix.ENOSPC) || s.Lost != lost || s.Written == 0 || s.Written >= taken {
		t.Fatalf("stats are %+v", s)
	}
	// Written records are readable.
	all := records(t, dir)
	if len(all) == 0 || uint64(len(all)) < w.Stats().Written {
		t.Errorf("%d records are readable, %d were written", len(all), w.Stats().Written)
	}

	// The next writer also finds the disk full, and loses no written record.
	if err := w.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("close: %v", err)
	}
	w = openLog(t, dir, o)
	if again := records(t, dir); len(again) != len(all) {
		t.Errorf("the next writer kept %d of %d records", len(again), len(all))
	}
	r := numbered(1 << 20)
	for i := 1; w.Append(&r) == nil; i++ {
		if i%1000 == 0 {
			_ = w.Flush() // fails once the disk is full
		}
	}
	firstLost, lastLost = r, r
	assert.NoError(t, os.Remove(ballast))
	assert.NoError(t, w.Flush())
	r = numbered(1<<20 + 1)
	assert.NoError(t, w.Append(&r))
	assert.NoError(t, w.Close())
	got := records(t, dir)
	same(t, got[:len(all)], all)
	gap := got[len(got)-2]
	if gap.Kind != Gap || gap.Lost != 1 || !gap.Time.Equal(lastLost.Time) || !gap.Began().Equal(firstLost.Time) {
		t.Errorf("the gap is %+v", gap)
	}
	same(t, got[len(got)-1:], []Record{r})
}
