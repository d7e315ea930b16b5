package conntrack

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watcher hears of changes in the network namespace in which it was opened. It is
// for one goroutine at a time, but for Close and Lost.
type Watcher struct {
	file  *os.File // for its place in the runtime's poller
	buf   []byte
	event Event
}

// Watch opens a Watcher for these kinds of events in the calling thread's network
// namespace. Events wait in a buffer of so many bytes, of which each takes 1 to 2 KiB
// as the kernel counts. Within a user namespace it is no larger than
// net.core.rmem_max.
//
// Who listens makes each new flow of the namespace dearer. Ask for what is needed:
// updates come several to a connection. With nf_conntrack_events at 2, the default
// since Linux 5.19, a flow makes no events if it began while no program of the machine
// listened for events, in any namespace.
func Watch(kinds Events, buffer int) (_ *Watcher, err error) {
	s, err := dial(askBuffer)
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket for events: %w", err))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("watch %s: %w", kinds, errors.Join(explain(err), s.close()))
		}
	}()
	err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	if err != nil {
		return nil, os.NewSyscallError("setsockopt SO_RCVBUF", err)
	}
	for i, group := range groups {
		if kinds&(1<<i) == 0 {
			continue
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return nil, os.NewSyscallError("setsockopt NETLINK_ADD_MEMBERSHIP", err)
		}
	}
	return &Watcher{file: os.NewFile(uintptr(s.fd), "conntrack events"), buf: s.buf}, nil
}

// Close ends the watch, and a loop over its events with os.ErrClosed.
func (w *Watcher) Close() error { return w.file.Close() }

// Events gives each event as it comes, in the same *Event, which is good until the
// next one; copy it to keep it. Nothing is allocated for an event.
//
// The loop ends with an error: the cause of the context's end; os.ErrClosed; or
// ErrOverrun when events were lost. Then dump the table to know what is, and go on
// with Events again: those that did fit the buffer are still there.
func (w *Watcher) Events(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		if err := w.events(ctx, yield); err != nil {
			yield(nil, explain(err))
		}
	}
}

func (w *Watcher) events(ctx context.Context, yield func(*Event, error) bool) error {
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		if !errors.Is(err, os.ErrNoDeadline) {
			err = os.ErrClosed // the runtime has an error of its own for that, which is none
		}
		return err
	}
	// An error is that of a closed file, which the next read has too.
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		n, err := w.file.Read(w.buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := context.Cause(ctx); err != nil {
				return err
			}
			continue
		case errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("%w: %w", ErrOverrun, unix.ENOBUFS)
		case err != nil:
			return err
		}
		var m message
		for b := w.buf[:n]; len(b) > 0; {
			if b, err = m.cut(b); err != nil {
				return err
			}
			if err := w.event.read(&m); err != nil {
				return err
			}
			if w.event.Kind != 0 && !yield(&w.event, nil) {
				return nil
			}
		}
	}
}

// Lost is the number of events that did not fit the buffer since the Watcher was
// opened (SK_MEMINFO_DROPS). It wraps.
func (w *Watcher) Lost() (uint32, error) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var lost uint32
	outer := raw.Control(func(fd uintptr) { lost, err = drops(fd) })
	return lost, errors.Join(outer, err)
}

// drops reads SO_MEMINFO, which golang.org/x/sys has no function for.
func drops(fd uintptr) (uint32, error) {
	const vars, index = 9, 8 // SK_MEMINFO_VARS and _DROPS of uapi/linux/sock_diag.h
	var all [vars]uint32
	size := uint32(unsafe.Sizeof(all))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return all[index], nil
}
