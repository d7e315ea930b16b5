package natlog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// Environment variables of a copy of the test program: a writer that the test kills, and
// TestDiskFull in its mount namespace.
const (
	victimEnv = "MCT_NATLOG_VICTIM" // the directory
	fullEnv   = "MCT_NATLOG_FULL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		fmt.Println(victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim appends and flushes numbered records without pause, and prints how many are
// flushed.
func victim(dir string) error {
	o := small
	w, err := Open(dir, o)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(os.Getenv("MCT_NATLOG_FROM"), 10, 64)
	if err != nil {
		return err
	}
	for {
		for range 700 {
			r := numbered(n)
			if err := w.Append(&r); err != nil {
				return err
			}
			n++
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestWriterKilled kills writers at different moments. No flushed record is lost, and the
// next writer continues the log.
func TestWriterKilled(t *testing.T) {
	dir := t.TempDir()
	self := assert.Must(os.Executable())(t)
	flushed, torn := uint64(0), 0
	var starts []uint64
	for i := range 25 {
		cmd := exec.Command(self)
		starts = append(starts, flushed)
		cmd.Env = append(os.Environ(), victimEnv+"="+dir, fmt.Sprint("MCT_NATLOG_FROM=", flushed))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out := bufio.NewScanner(assert.Must(cmd.StdoutPipe())(t))
		assert.NoError(t, cmd.Start())
		var last time.Time
		for lines := 1; out.Scan(); lines++ {
			period := time.Since(last)
			last = time.Now()
			n, err := strconv.ParseUint(out.Text(), 10, 64)
			if err != nil {
				t.Errorf("the victim prints %q, want a number", out.Text())
				break
			}
			flushed = n
			if lines == 2+i%3 {
				time.Sleep(period * time.Duration(i) / 25) // kill at a different moment each time
				assert.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, path := range append(files(t, dir, segmentSuffix), files(t, dir, tailSuffix)...) {
			f := assert.Must(os.Open(path))(t)
			var c contents
			if c.read(f, assert.Must(f.Stat())(t).Size()) != nil {
				torn++
			}
			assert.NoError(t, f.Close())
		}
		// A victim that is killed after a flush and before it prints has flushed more.
		have := uint64(0)
		if all := records(t, dir); len(all) > 0 {
			have = all[len(all)-1].Packets[0] + 1
		}
		if have < flushed {
			t.Fatalf("kill %d: %d records were flushed, %d are found", i, flushed, have)
		}
		flushed = have
	}
	if flushed < 20_000 {
		t.Errorf("25 writers wrote only %d records", flushed)
	}
	all := records(t, dir)
	// The oldest records have been removed because of MaxTotalBytes.
	for i := range all[1:] {
		if all[i+1].Packets[0] != all[i].Packets[0]+1 {
			t.Fatalf("record %d comes after %d; the writers began at %d", all[i+1].Packets[0], all[i].Packets[0], starts)
		}
	}
	want := numbered(all[0].Packets[0])
	same(t, all[:1], []Record{want})
	w := openLog(t, dir, small)
	assert.NoError(t, w.Close())
	if left := files(t, dir, tailSuffix); len(left) != 0 {
		t.Errorf("the tails %v are left after Close", left)
	}
	if again := records(t, dir); !slices.Equal(again[len(again)-100:], all[len(all)-100:]) {
		t.Error("the next writer changed the last records")
	}
	t.Logf("%d records, %d incomplete files", flushed, torn)
}
