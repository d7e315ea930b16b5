package conntrack

import (
	"context"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Watcher receives events of the network namespace in which it was opened. It is for one
// goroutine at a time, except Close and Lost.
type Watcher struct {
	events *netlink.Subscription
	event  Event
}

// Watch opens a Watcher for these kinds of events in the calling thread's network
// namespace. buffer is the size in bytes of the buffer for unread events, each of which
// takes 1 to 2 KiB as the kernel counts. In a user namespace it is at most
// net.core.rmem_max.
//
// Events make each new flow of the namespace slower, so watch only the kinds that are
// needed: a connection has several updates. With nf_conntrack_events 2, the default since
// Linux 5.19, a flow has no events if it began while no program of the machine watched
// events, in any namespace.
func Watch(kinds Events, buffer int) (*Watcher, error) {
	var joined []int
	for i, group := range groups {
		if kinds&(1<<i) != 0 {
			joined = append(joined, group)
		}
	}
	events, err := netlink.Subscribe(unix.NETLINK_NETFILTER, buffer, joined...)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kinds, explain(err))
	}
	return &Watcher{events: events}, nil
}

// Close ends the watch, and a loop over its events with os.ErrClosed.
func (w *Watcher) Close() error { return w.events.Close() }

// Events yields each event in the same *Event, which is valid until the next iteration:
// copy it to keep it. Nothing is allocated for an event.
//
// The loop ends with an error: the cause of the context's end, os.ErrClosed, or ErrOverrun
// if events were lost. After ErrOverrun, dump the table and call Events again: events that
// fit the buffer are still in it.
func (w *Watcher) Events(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for m, err := range w.events.Messages(ctx) {
			if err == nil {
				err = w.event.read(m)
			}
			switch {
			case err != nil:
				yield(nil, explain(err))
				return
			case w.event.Kind != 0 && !yield(&w.event, nil):
				return
			}
		}
	}
}

// Lost returns the number of events that exceeded the buffer since the Watcher was
// opened (SK_MEMINFO_DROPS). It wraps.
func (w *Watcher) Lost() (uint32, error) { return w.events.Lost() }
