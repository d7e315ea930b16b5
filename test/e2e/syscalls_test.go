package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// syscalls are the system calls of a process, as a tracer sees them.
type syscalls struct {
	pid int

	mu    sync.Mutex
	calls []string // "sendto"; "system call 202" for calls without a name here
	sent  []netlinkMessage
	fault error
	ended bool
	done  chan struct{}
}

// netlinkMessage is the header of a sent message.
type netlinkMessage struct{ typ, flags uint16 }

func (m netlinkMessage) nftables() bool { return m.typ>>8 == unix.NFNL_SUBSYS_NFTABLES }

func (m netlinkMessage) dump() bool { return m.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP }

func (m netlinkMessage) String() string {
	part, typ := "rtnetlink", m.typ
	switch m.typ >> 8 {
	case unix.NFNL_SUBSYS_NFTABLES:
		part, typ = "nftables", m.typ&0xff
	case unix.NFNL_SUBSYS_CTNETLINK:
		part, typ = "conntrack", m.typ&0xff
	}
	if m.dump() {
		part = "dump of " + part
	}
	return fmt.Sprintf("%s %d", part, typ)
}

// syscalls traces masqd until the end of the test or of the trace.
func (d *daemon) syscalls() *syscalls {
	d.w.t.Helper()
	s := &syscalls{pid: d.Process.Pid, done: make(chan struct{})}
	begun := make(chan error)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // this thread is the tracer
		defer runtime.UnlockOSThread()
		err := s.seize()
		begun <- err
		if err == nil {
			err = s.run()
		}
		s.release()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fault = err
	}()
	assert.NoError(d.w.t, <-begun)
	d.w.t.Cleanup(func() { assert.NoError(d.w.t, s.end()) })
	return s
}

// end detaches from masqd. It must be called before masqd ends: wait(2) reports the end to
// the tracer, not to the parent.
func (s *syscalls) end() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	select {
	case <-s.done:
	default:
		// The tracer waits in the kernel. Go ignores this signal.
		if err := unix.Kill(s.pid, unix.SIGURG); err != nil {
			return fmt.Errorf("signal process %d: %w", s.pid, err)
		}
		<-s.done
	}
	return s.fault
}

// take returns the calls since the last take.
func (s *syscalls) take() (calls []string, sent []netlinkMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, sent = s.calls, s.sent
	s.calls, s.sent = nil, nil
	return calls, sent
}

// seize attaches to every thread.
func (s *syscalls) seize() error {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
	for known := map[int]bool{}; ; {
		fresh := false
		for _, tid := range threads(s.pid) {
			if known[tid] {
				continue
			}
			known[tid], fresh = true, true
			// EPERM: the thread was made by a traced thread, and is traced already.
			if err := ptrace(unix.PTRACE_SEIZE, tid, 0, options); err != nil && !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("trace thread %d: %w", tid, err)
			}
			if err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0); err != nil {
				return fmt.Errorf("stop thread %d: %w", tid, err)
			}
		}
		if !fresh {
			return nil
		}
	}
}

func threads(pid int) (out []int) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)) // the pattern is valid
	for _, path := range paths {
		if tid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			out = append(out, tid)
		}
	}
	return out
}

func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func (s *syscalls) run() error {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait4: %w", err)
		case !ws.Stopped():
			continue // a thread has ended
		}
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return ptrace(unix.PTRACE_DETACH, tid, 0, 0)
		}
		signal := 0
		switch sig := ws.StopSignal(); {
		case sig == syscallStop:
			if err := s.stopped(tid); err != nil {
				return err
			}
		case int(ws)>>16 != 0: // stops by tracing, also of new threads
		default:
			signal = int(sig)
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("continue: %w", err)
		}
	}
}

// release detaches from every thread that is still traced.
func (s *syscalls) release() {
	for _, tid := range threads(s.pid) {
		// The thread may have stopped already, or may no longer be traced.
		if ptrace(unix.PTRACE_DETACH, tid, 0, 0) == nil || ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) != nil {
			continue
		}
		_, _ = unix.Wait4(tid, nil, unix.WALL|unix.WNOTHREAD, nil)
		_ = ptrace(unix.PTRACE_DETACH, tid, 0, 0) // an error: the thread has ended
	}
}

// sending are the system calls that can send messages.
var sending = map[uint64]string{
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_SENDMMSG: "sendmmsg",
	unix.SYS_WRITE: "write", unix.SYS_WRITEV: "writev",
}

// stopped records the system call that a thread is about to make.
func (s *syscalls) stopped(tid int) error {
	var info syscallInfo
	if err := ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info))); err != nil {
		return fmt.Errorf("ptrace syscall info: %w", err)
	}
	if info.op != syscallEntry {
		return nil
	}
	name := sending[info.nr]
	if name == "" {
		name = fmt.Sprintf("system call %d", info.nr)
	}
	var sent []netlinkMessage
	if sending[info.nr] != "" && isNetlink(s.pid, info.args[0]) {
		if name != "sendto" && name != "write" { // these have the same arguments
			return fmt.Errorf("a netlink message is sent by %s, whose arguments this test cannot read", name)
		}
		b := make([]byte, info.args[2])
		if err := readMemory(tid, b, info.args[1]); err != nil {
			return err
		}
		sent = netlinkMessages(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	s.sent = append(s.sent, sent...)
	return nil
}

// isNetlink reports whether a descriptor of a process is a netlink socket.
func isNetlink(pid int, fd uint64) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	inode, found := strings.CutPrefix(target, "socket:[")
	if err != nil || !found {
		return false
	}
	sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", pid))
	if err != nil {
		return false
	}
	inode = strings.TrimSuffix(inode, "]")
	return slices.ContainsFunc(strings.Split(string(sockets), "\n"), func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 0 && fields[len(fields)-1] == inode
	})
}

func readMemory(tid int, b []byte, at uint64) error {
	if len(b) == 0 {
		return nil
	}
	n, err := unix.ProcessVMReadv(tid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err != nil || n != len(b) {
		return fmt.Errorf("read %d bytes of thread %d: %d, %w", len(b), tid, n, err)
	}
	return nil
}

// netlinkMessages returns the headers of the messages in a datagram.
func netlinkMessages(b []byte) (out []netlinkMessage) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		out = append(out, netlinkMessage{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])})
		if n = (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1); n < unix.SizeofNlMsghdr || n > len(b) {
			break
		}
		b = b[n:]
	}
	return out
}
