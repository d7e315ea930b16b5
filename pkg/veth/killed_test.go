package veth

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// victimEnv is the environment variable of a copy of the test program that adds one link
// and kills itself after this number of nanoseconds.
const victimEnv = "MCT_WIRE_VICTIM"

func TestMain(m *testing.M) {
	if life, err := strconv.ParseInt(os.Getenv(victimEnv), 10, 64); err == nil {
		fmt.Println(victim(life))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim has the node's namespace at file descriptor 3, and the container's at 4.
func victim(life int64) error {
	node := namespace{fd: 3, name: "the node"}
	var w *Conn
	if err := node.within(func() (err error) { w, err = Open(); return err }); err != nil {
		return err
	}
	ts := unix.NsecToTimespec(life)
	go func() {
		_ = unix.Nanosleep(&ts, nil)
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
	p := pair(&space{namespace: namespace{name: "/proc/self/fd/4"}}, 5, "4", "6")
	if _, err := w.Add(p); err != nil {
		return err
	}
	select {}
}

// Delete removes everything that a killed Add left.
func TestAddKilledLeavesNothing(t *testing.T) {
	lab := newLab(t)
	c := newSpace(t)
	p := pair(c, 5, "4", "6")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := [...]int{lab.node.links(), c.links()}
	found := map[bool]int{}
	for i := range 60 {
		life := time.Duration(i) * 20 * time.Microsecond
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", victimEnv, life))
		cmd.ExtraFiles = []*os.File{lab.node.file(), c.file()}
		if out, err := cmd.CombinedOutput(); len(out) > 0 || err == nil {
			t.Fatalf("the victim wrote %s (%v)", out, err)
		}
		name, err := lab.conn.Find(p.hostLink())
		if err != nil {
			t.Fatal(err)
		}
		found[name != ""]++
		if err := lab.conn.Delete(p.hostLink()); err != nil {
			t.Fatalf("killed after %s: %v", life, err)
		}
		if after := [...]int{lab.node.links(), c.links()}; after != before {
			t.Fatalf("killed after %s: %v links before, %v after", life, before, after)
		}
	}
	t.Logf("a link was left %d times, none %d times", found[true], found[false])
}

// file is the namespace for another process.
func (s *space) file() *os.File {
	s.t.Helper()
	f, err := os.Open(s.name)
	s.must(err)
	s.t.Cleanup(func() { _ = f.Close() })
	return f
}
