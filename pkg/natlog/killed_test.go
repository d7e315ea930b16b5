package natlog

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Environment of a copy of the test program that is a writer, or a node with a small
// disk.
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

// victim appends numbered records, and says which are flushed. Each flush comes as
// soon as the one before is done, so that there is no moment at which nothing is
// written.
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

// Killed at any moment, a writer loses nothing that was flushed, the next one goes on
// behind it, and what was not flushed is in a gap.
func TestWriterKilled(t *testing.T) {
	dir := t.TempDir()
	self := must(os.Executable())(t)
	flushed, torn := uint64(0), 0
	var starts []uint64
	for i := range 25 {
		var out bytes.Buffer
		cmd := exec.Command(self)
		starts = append(starts, flushed)
		cmd.Env = append(os.Environ(), victimEnv+"="+dir, fmt.Sprint("MCT_NATLOG_FROM=", flushed))
		cmd.Stdout = &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		check(t, cmd.Start())
		time.Sleep(time.Duration(40+i*3) * time.Millisecond) // the moment of death, any will do
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
		lines := strings.Split(out.String(), "\n")
		for _, l := range lines[:len(lines)-1] {
			n, err := strconv.ParseUint(l, 10, 64)
			if err != nil {
				t.Fatalf("the victim says %q", l)
			}
			flushed = n
		}
		for _, path := range append(files(t, dir, segmentSuffix), files(t, dir, tailSuffix)...) {
			f := must(os.Open(path))(t)
			var c contents
			if c.read(f, must(f.Stat())(t).Size()) != nil {
				torn++
			}
			check(t, f.Close())
		}
		// A death between the flush and the word of it leaves more than was said.
		have := uint64(0)
		if all := records(t, dir); len(all) > 0 {
			have = all[len(all)-1].Packets[0] + 1
		}
		if have < flushed {
			t.Fatalf("death %d: records up to %d were flushed, up to %d are there", i, flushed, have)
		}
		flushed = have
	}
	if flushed < 20_000 {
		t.Errorf("only %d records in 25 lives", flushed)
	}
	all := records(t, dir)
	// Bounds have removed the first.
	for i := range all[1:] {
		if all[i+1].Packets[0] != all[i].Packets[0]+1 {
			t.Fatalf("%d comes after %d; lives began at %d", all[i+1].Packets[0], all[i].Packets[0], starts)
		}
	}
	want := numbered(all[0].Packets[0])
	same(t, all[:1], []Record{want})
	w := openLog(t, dir, small)
	check(t, w.Close())
	if left := files(t, dir, tailSuffix); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if again := records(t, dir); !slices.Equal(again[len(again)-100:], all[len(all)-100:]) {
		t.Error("the last records changed")
	}
	t.Logf("%d records, %d torn files", flushed, torn)
}
