package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// onTheNode is what to do if a pod lacks rights or files of the node, as masqd's pod does.
const onTheNode = "run masq-cni doctor as root on the node, or kubectl masq --privileged doctor"

// notEntered adds what to do to the error of entering a container, if rights are missing or the
// directory with the network namespaces is not mounted here.
func notEntered(r *store.Record, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: CAP_SYS_ADMIN is needed; %s", err, onTheNode)
	case errors.Is(err, fs.ErrNotExist):
		if _, e := os.Stat(filepath.Dir(r.NetNS)); errors.Is(e, fs.ErrNotExist) {
			return fmt.Errorf("%w; %s", err, onTheNode)
		}
	}
	return err
}

// inContainer calls f on a new thread in the network namespace of a container.
func inContainer(r store.Record, f func() error) error {
	if r.NetNS == "" {
		return notChecked("the record of " + r.Identity() + " has no network namespace")
	}
	ns, err := os.Open(r.NetNS)
	if err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", r.Identity(), notEntered(&r, err))
	}
	defer func() { _ = ns.Close() }()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace %s of %s: %w", r.NetNS, r.Identity(), notEntered(&r, err))
			return
		}
		done <- f()
	}()
	return <-done
}
