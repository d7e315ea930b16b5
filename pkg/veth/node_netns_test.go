package veth

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

func TestNodeNetNSState(t *testing.T) {
	own := OwnNetNS()
	if own == nil {
		t.Skip("needs Linux 6.18: namespaces have no file handles")
	}
	if got := NodeNetNSState(*own); got != masq.NetNSAlive {
		t.Errorf("the own namespace is %v", got)
	}
	if !seesAllNamespaces() {
		t.Skip("needs CAP_SYS_ADMIN in the initial user and PID namespaces")
	}
	file := -1
	onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			file, err = unix.Open(ownNetNSPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			t.Errorf("make a network namespace: %v", err)
		}
	})
	if file < 0 {
		return
	}
	n := handleOf(fmt.Sprintf("/proc/self/fd/%d", file))
	if n.ID == 0 || n == *own {
		t.Errorf("the namespace is %+v, this one %+v", n, *own)
	}
	if got := NodeNetNSState(n); got != masq.NetNSAlive {
		t.Errorf("a living namespace is %v", got)
	}
	for _, incomplete := range []masq.NodeNetNS{{}, {ID: n.ID}, {Inode: n.Inode}} {
		if got := NodeNetNSState(incomplete); got != masq.NetNSUnknown {
			t.Errorf("%+v is %v", incomplete, got)
		}
	}
	// The kernel returns the same error to this thread as for a removed namespace.
	onThread(func() {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_ADMIN, Permitted: 1 << unix.CAP_NET_ADMIN}}
		if err := unix.Capset(&head, &data[0]); err != nil {
			t.Error(err)
		}
		if err := openHandle(n); !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EPERM) {
			t.Errorf("without CAP_SYS_ADMIN it is opened: %v", err)
		}
		if got := NodeNetNSState(n); got != masq.NetNSUnknown {
			t.Errorf("without CAP_SYS_ADMIN a living namespace is %v", got)
		}
	})
	if err := unix.Close(file); err != nil {
		t.Fatal(err)
	}
	// The namespace is removed after its thread has ended.
	for deadline := time.Now().Add(time.Minute); NodeNetNSState(n) != masq.NetNSRemoved; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the removed namespace is %v", NodeNetNSState(n))
		}
	}
	// The kernel may reuse the inode for another namespace, but not the ID.
	if got := NodeNetNSState(masq.NodeNetNS{ID: n.ID, Inode: own.Inode}); got != masq.NetNSRemoved {
		t.Errorf("a namespace with the inode of another is %v", got)
	}
}

// onThread calls f on a thread that ends afterwards, so not on the main thread.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}
