package doctor

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// inContainer calls f in the network namespace of a container, on a thread of its own.
func inContainer(r store.Record, f func() error) error {
	if r.NetNS == "" {
		return notChecked("the record of " + r.Identity() + " has no network namespace")
	}
	ns, err := os.Open(r.NetNS)
	if err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", r.Identity(), err)
	}
	defer func() { _ = ns.Close() }()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace %s of %s: %w", r.NetNS, r.Identity(), err)
			return
		}
		done <- f()
	}()
	return <-done
}
