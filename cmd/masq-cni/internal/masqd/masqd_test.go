package masqd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestReadyAddress checks that masqd is asked at an address that needs neither TLS nor a
// password. The locks of earlier versions have Listen only.
func TestReadyAddress(t *testing.T) {
	for want, d := range map[string]store.Daemon{
		"":                  {},
		"127.0.0.1:9468":    {Listen: "127.0.0.1:9468"},
		"unix:/run/s":       {Listen: "127.0.0.1:9468", Health: "unix:/run/s"},
		"127.0.0.1:9469":    {Listen: ":9468", Health: "127.0.0.1:9469", WebConfig: "/etc/web.yml"},
		"unix:/run/another": {Health: "unix:/run/another"},
	} {
		if got := readyAddress(d); got != want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
	if got := readyAddress(store.Daemon{Listen: ":9468", WebConfig: "/etc/web.yml"}); got != "" {
		t.Errorf("with a web configuration only: %q", got)
	}
}

func TestStateOf(t *testing.T) {
	dir := t.TempDir()
	is := func(want report.Daemon) {
		t.Helper()
		want.Expected = want.Expected || want.PID != 0
		got, err := StateOf(t.Context(), filepath.Join(dir, "masqd.lock"), dir)
		if shown := !got.Running || got.Elsewhere; shown != (len(got.Evidence) > 0) {
			t.Errorf("evidence of %+v", got)
		}
		if got.Evidence = nil; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	is(report.Daemon{})
	path := filepath.Join(dir, "masqd.lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	is(report.Daemon{}) // no process holds the lock
	for _, elsewhere := range []bool{false, true} {
		args := []string{"--no-fork", "-n", path, "sh", "-c", "echo ready; exec sleep infinity"}
		if elsewhere {
			args = slices.Insert(args, 3, "unshare", "--net")
		}
		other := exec.Command("flock", args...)
		out, err := other.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fscanf(out, "ready\n")
		is(report.Daemon{Running: true, PID: other.Process.Pid, Elsewhere: elsewhere})
		// A stopped process still holds its lock.
		pid := other.Process.Pid
		err = errors.Join(err, unix.Kill(pid, unix.SIGSTOP))
		if _, waited := unix.Wait4(pid, nil, unix.WUNTRACED, nil); waited != nil {
			t.Fatal(waited)
		}
		is(report.Daemon{PID: pid, Elsewhere: elsewhere, Stopped: true})
		if err := errors.Join(err, other.Process.Kill()); err != nil {
			t.Fatal(err)
		}
		_ = other.Wait() // ended by the signal
	}
	is(report.Daemon{})
	// A masqd that has run, or that systemd starts at boot, is expected to run.
	if err := os.WriteFile(path, []byte(`{"hasRun":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	is(report.Daemon{Expected: true})
	wants := filepath.Join(dir, "etc/systemd/system/multi-user.target.wants")
	if err := errors.Join(os.Remove(path), os.MkdirAll(wants, 0o755), os.Symlink("/usr/lib/systemd/system/masqd.service", filepath.Join(wants, "masqd.service"))); err != nil {
		t.Fatal(err)
	}
	is(report.Daemon{Expected: true})
}
