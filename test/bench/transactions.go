package main

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// generations detects changes of a namespace's ruleset by polling its generation. It does not
// subscribe: with a listener, the kernel builds a notification of each element, and a repair takes
// longer.
type generations struct {
	conn  *nft.Conn
	now   atomic.Uint32
	since atomic.Int64 // time of the last change, in nanoseconds
	end   chan struct{}
	ended chan error
}

// every is the polling interval.
const every = 200 * time.Microsecond

func observeRules(n *nstest.NS) (*generations, error) {
	g := &generations{end: make(chan struct{}), ended: make(chan error, 1)}
	err := n.Do(func() (err error) {
		g.conn, err = nft.Open()
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() { g.ended <- g.run() }()
	return g, nil
}

func (g *generations) close() error {
	close(g.end)
	return <-g.ended
}

func (g *generations) run() error {
	// The thread has a higher priority than the measured programs, so that it never waits. It runs
	// for some microseconds each time.
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine, since its priority is changed
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20); err != nil {
		return err
	}
	for {
		select {
		case <-g.end:
			return g.conn.Close()
		default:
		}
		n, err := g.conn.Generation()
		if err != nil {
			return err
		}
		if n != g.now.Load() {
			g.since.Store(time.Now().UnixNano())
			g.now.Store(n)
		}
		if err := unix.Nanosleep(&unix.Timespec{Nsec: int64(every)}, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
