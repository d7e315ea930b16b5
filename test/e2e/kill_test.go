package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// victim is a node with an attachment that stays, and another that is killed.
type victim struct {
	*world
	add, del call
	before   string // the traces of the node without the second attachment
}

func newVictim(t *testing.T, beside bool) *victim {
	w := newWorld(t, nstest.Uplink{})
	if beside {
		w.attach("beside", w.namedConflist("other", "1.1.0", w.masqOn("10.99.0.0/24")))
	}
	conf := w.masq().With(keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300})
	v := &victim{world: w, before: w.traces()}
	v.add = call{verb: "ADD", id: "killed", netns: w.pod("killed").Path(), conf: conf}
	v.del = v.add
	v.del.verb = "DEL"
	return v
}

// restored checks that a DEL removes everything that a killed call has left.
func (v *victim) restored(when string) {
	v.t.Helper()
	v.call(v.del).done(nil)
	unchanged(v.t, "remaining after DEL, "+when, v.traces(), v.before)
	if v.t.Failed() {
		v.t.FailNow() // later steps would repeat the error
	}
}

// addedAgain checks that an ADD succeeds after a killed ADD, without a DEL between.
func (v *victim) addedAgain(when string) (result keys) {
	v.t.Helper()
	if v.complete() {
		// The runtime may call ADD again after a complete ADD whose result it did not get.
		v.call(v.add).refused(ofLink)
		v.restored(when)
	}
	v.call(v.add).done(&result)
	check := v.add
	check.verb, check.conf = "CHECK", v.add.conf.With(keys{"prevResult": result})
	v.call(check).done(nil)
	v.restored("an ADD after " + when)
	return result
}

// complete reports whether an ADD was killed after everything except its output.
func (v *victim) complete() bool {
	v.t.Helper()
	for _, path := range assert.Must(filepath.Glob(filepath.Join(v.dir, "state", "attachments", "*.json")))(v.t) {
		if b := assert.Must(os.ReadFile(path))(v.t); bytes.Contains(b, []byte(`"containerID":"killed"`)) {
			return bytes.Contains(b, []byte(`"ready":true`))
		}
	}
	return false
}

// after starts the plugin and kills it after a delay. It reports whether the plugin was
// still running.
func (v *victim) after(c call, d time.Duration) bool {
	v.t.Helper()
	cmd := v.Node.Command(soon(v.t), pluginProgram(v.t))
	cmd.Env, cmd.Stdin = c.env(v.world), bytes.NewReader(c.stdin(v.t))
	// No pipe for stdout: the test does not wait for a killed plugin.
	assert.NoError(v.t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		assert.NoError(v.t, err)
		return false
	case <-time.After(d): // a fixed delay is intended
	}
	assert.NoError(v.t, ignoreDone(cmd.Process.Kill()))
	if <-done == nil {
		return false
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// duration returns how long a verb takes undisturbed: the minimum of several runs.
func (v *victim) duration(c call, undo call) time.Duration {
	v.t.Helper()
	var all []time.Duration
	for range 5 {
		start := time.Now()
		r := v.call(c)
		all = append(all, time.Since(start))
		if r.exit != 0 {
			v.t.Fatalf("%s: %s", c.verb, r.stdout)
		}
		if r := v.call(undo); r.exit != 0 {
			v.t.Fatalf("%s: %s", undo.verb, r.stdout)
		}
	}
	return slices.Min(all)
}

// sweep is the number of moments at which the plugin is killed.
const sweep = 60

// TestKilledAtAnyTime kills ADD and DEL after delays from zero to their full duration,
// alternately on a node with another attachment and on a node without.
func TestKilledAtAnyTime(t *testing.T) {
	nodes := [2]*victim{newVictim(t, false), newVictim(t, true)}
	var full [2]time.Duration
	moment := func(i int) time.Duration { return full[i%2] * time.Duration(i) / (sweep - 1) }
	report := func(verb string, killed int) {
		t.Helper()
		t.Logf("%s: %d of %d killed within %s", verb, killed, sweep, full)
		if killed < sweep/4 { // control
			t.Errorf("only %d of %d %ss were killed", killed, sweep, verb)
		}
	}
	killed := 0
	for n, v := range nodes {
		full[n] = v.duration(v.add, v.del)
	}
	for i := range sweep {
		v := nodes[i%2]
		if v.after(v.add, moment(i)) {
			killed++
		}
		when := fmt.Sprintf("ADD killed after %s of %s", moment(i), full[i%2])
		if i%3 == 2 {
			v.addedAgain(when)
		} else {
			v.restored(when)
		}
	}
	report("ADD", killed)

	killed = 0
	for n, v := range nodes {
		v.call(v.add).done(new(types100.Result))
		full[n] = v.duration(v.del, v.add)
	}
	for i := range sweep {
		v := nodes[i%2]
		if i >= len(nodes) {
			v.call(v.add).done(new(types100.Result))
		}
		if v.after(v.del, moment(i)) {
			killed++
		}
		v.restored(fmt.Sprintf("DEL killed after %s of %s", moment(i), full[i%2]))
	}
	report("DEL", killed)
}

// TestKilledAtAnyStep kills ADD and DEL before each system call that changes something.
func TestKilledAtAnyStep(t *testing.T) {
	v := newVictim(t, true)
	for _, verb := range []struct {
		call
		least int // minimum number of steps; with fewer the test proves nothing
	}{{v.add, 20}, {v.del, 8}} {
		t.Run(verb.verb, func(t *testing.T) {
			v := &victim{v.in(t), v.add, v.del, v.before}
			steps, left := 0, 0
			for {
				if verb.verb == "DEL" {
					v.call(v.add).done(new(types100.Result))
				}
				step := v.killBefore(verb.call, steps)
				if step == "" {
					break
				}
				if v.traces() != v.before {
					left++
				}
				v.restored(fmt.Sprintf("%s killed before step %d, %s", verb.verb, steps, step))
				steps++
			}
			v.restored(verb.verb)
			t.Logf("%d steps, after %d of them DEL had something to remove", steps, left)
			if steps < verb.least || left < verb.least/2 { // control
				t.Errorf("%d steps, after %d of them something remained, want at least %d", steps, left, verb.least)
			}
		})
	}
}

// changing are the system calls that change something outside the process.
var changing = map[uint64]string{
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_OPENAT: "openat", unix.SYS_WRITE: "write",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_FLOCK: "flock", unix.SYS_EXIT_GROUP: "exit_group",
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h, for an entry.
// Requires Linux 5.3.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	_    uint32
	_, _ uint64
	nr   uint64
	args [6]uint64
	_    [8]byte
}

const (
	syscallEntry = 1          // PTRACE_SYSCALL_INFO_ENTRY
	syscallStop  = 0x80 | 0o5 // SIGTRAP, marked by PTRACE_O_TRACESYSGOOD
)

// killBefore runs the plugin and kills it before its n-th system call that changes
// something. It returns the name of the call, or "" if the plugin ended before.
func (v *victim) killBefore(c call, n int) (step string) {
	v.t.Helper()
	killed := false
	step, r := v.stopBefore(c, n, anyStep, func(kill func()) {
		kill()
		killed = true
	})
	if r.exit == 0 == killed {
		v.t.Fatalf("%s ended before step %d, %s: exit code %d: %s", c.verb, n, step, r.exit, r.stdout)
	}
	return step
}

func anyStep(string) bool { return true }

// stopBefore runs the plugin and stops it before its n-th system call that changes
// something and that counts accepts. The plugin continues when do returns. If there is no
// such call, the step is "".
func (w *world) stopBefore(c call, n int, counts func(string) bool, do func(kill func())) (step string, r reply) {
	w.t.Helper()
	name := filepath.Join(w.dir, "stopped")
	assert.NoError(w.t, os.WriteFile(name, c.stdin(w.t), 0o600))
	in := assert.Must(os.Open(name))(w.t)
	defer in.Close()
	out := assert.Must(os.Create(name + ".out"))(w.t)
	defer out.Close()
	path := pluginProgram(w.t)
	// A tracer is a thread, and so is a parent: Do provides a separate thread.
	assert.NoError(w.t, w.Node.Do(func() error {
		pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{
			Env:   c.env(w),
			Files: []uintptr{in.Fd(), out.Fd(), out.Fd()},
			Sys:   &syscall.SysProcAttr{Ptrace: true},
		})
		if err != nil {
			return err
		}
		kill := func() { _ = unix.Kill(pid, unix.SIGKILL) }
		end := time.AfterFunc(patience, kill) // wait4 takes no context
		defer end.Stop()
		var ws unix.WaitStatus
		step, ws, err = trace(pid, func(name string) bool {
			if !counts(name) {
				return false
			}
			n--
			return n < 0
		}, func() { do(kill) })
		r = reply{t: w.t, exit: ws.ExitStatus()}
		return err
	}))
	r.stdout = assert.Must(os.ReadFile(name + ".out"))(w.t)
	return step, r
}

// trace follows a process that has stopped at its exec until it ends, and calls do while
// it is stopped before the step that stop selects.
func trace(pid int, stop func(step string) bool, do func()) (step string, ws unix.WaitStatus, err error) {
	started := false
	for {
		// Only children of this thread: others must not be reaped here.
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return step, ws, fmt.Errorf("wait4: %w", err)
		}
		if ws.Exited() || ws.Signaled() {
			if tid == pid {
				return step, ws, nil
			}
			continue // a thread
		}
		signal := 0
		switch sig := ws.StopSignal(); {
		case !started:
			started = true
			const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
			if err := unix.PtraceSetOptions(pid, options); err != nil {
				return step, ws, fmt.Errorf("ptrace options: %w", err)
			}
		case sig == syscallStop && step == "":
			name, err := changes(tid)
			if err != nil {
				return step, ws, err
			}
			if name != "" && stop(name) {
				step = name
				do()
			}
		case sig == syscallStop, sig == unix.SIGTRAP, sig == unix.SIGSTOP: // stops by tracing, also of new threads
		default:
			signal = int(sig)
		}
		// ESRCH: the process is being killed.
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return step, ws, fmt.Errorf("continue: %w", err)
		}
	}
}

// changes names the system call that a thread is about to make, if it changes something.
func changes(tid int) (string, error) {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 && errno != unix.ESRCH {
		return "", fmt.Errorf("ptrace syscall info: %w", errno)
	}
	name := changing[info.nr]
	if info.op != syscallEntry || name == "openat" && info.args[2]&unix.O_CREAT == 0 {
		return "", nil
	}
	return name, nil
}

// TestKilledAddLosesNoAddress: after a killed ADD, the next ADD gets the only address of
// the pool, without a DEL.
func TestKilledAddLosesNoAddress(t *testing.T) {
	v := newVictim(t, true)
	v.add.conf["ipam"] = keys{
		"type": "host-local", "dataDir": filepath.Join(v.dir, "leases"),
		"ranges": []any{[]any{keys{"subnet": "10.88.0.0/16", "rangeStart": "10.88.3.4", "rangeEnd": "10.88.3.4"}}},
	}
	for steps := 0; ; steps++ {
		step := v.killBefore(v.add, steps)
		if step == "" {
			v.restored("ADD")
			break
		}
		result := v.addedAgain(fmt.Sprintf("ADD killed before step %d, %s", steps, step))
		if ips := fmt.Sprint(result["ips"]); !strings.Contains(ips, "10.88.3.4/16") {
			t.Errorf("after %s: %s", step, ips)
		}
	}
}
