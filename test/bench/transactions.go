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

// generations sees when a namespace's ruleset changes. It asks for the ruleset's
// number instead of listening: where anybody listens, the kernel writes a
// notification of each element, and a repair takes longer.
type generations struct {
	conn  *nft.Conn
	now   atomic.Uint32
	since atomic.Int64 // in nanoseconds
	end   chan struct{}
	ended chan error
}

// every is the time between two questions.
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
	// Ahead of what is measured, so that it is not waited for: it takes some
	// microseconds each time.
	runtime.LockOSThread() // and never unlocked: the thread ends with its priority
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
