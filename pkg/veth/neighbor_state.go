package veth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// NeighborState is what the kernel knows about the link-layer address of a neighbor.
type NeighborState struct {
	// State are flags NUD_*. It is 0 if the kernel has no entry.
	State uint16
	// Unused is the time since the last packet to the neighbor, and Unchanged the time since
	// the entry got its state.
	Unused, Unchanged time.Duration
}

// Names of NUD_* as ip-neighbour(8) writes them.
var neighborStates = []struct {
	flag uint16
	name string
}{
	{unix.NUD_INCOMPLETE, "INCOMPLETE"},
	{unix.NUD_REACHABLE, "REACHABLE"},
	{unix.NUD_STALE, "STALE"},
	{unix.NUD_DELAY, "DELAY"},
	{unix.NUD_PROBE, "PROBE"},
	{unix.NUD_FAILED, "FAILED"},
	{unix.NUD_NOARP, "NOARP"},
	{unix.NUD_PERMANENT, "PERMANENT"},
}

// String returns the state as ip-neighbour(8) writes it.
func (n NeighborState) String() string {
	var out []string
	for _, s := range neighborStates {
		if n.State&s.flag != 0 {
			out = append(out, s.name)
		}
	}
	if len(out) == 0 {
		return "NONE"
	}
	return strings.Join(out, " ")
}

// requestInterval is the time between two requests (retrans_time_ms, 1 s unless it is set). The
// kernel's count of requests does not show whether one was left without an answer: it begins at
// ucast_solicit (__neigh_event_send in net/core/neighbour.c).
const requestInterval = time.Second

// recentTraffic is the time since the last packet to a neighbor within which its entry counts.
// The kernel keeps a failed entry until it needs the room.
const recentTraffic = 5 * time.Minute

// Unresolved reports whether packets were sent to the neighbor recently, and it did not answer
// the kernel's requests.
func (n NeighborState) Unresolved() bool {
	switch {
	case n.Unused > recentTraffic:
		return false
	case n.State&unix.NUD_FAILED != 0:
		return true
	}
	return n.State&unix.NUD_INCOMPLETE != 0 && n.Unchanged >= requestInterval
}

// isResolving reports whether the neighbor has some time left to answer the first request.
func (n NeighborState) isResolving() bool {
	return n.State&unix.NUD_INCOMPLETE != 0 && n.Unchanged < requestInterval
}

// userHZ is the unit of times that the kernel reports: ticks each second (USER_HZ).
const userHZ = 100

// resolvePoll is the time between two readings of a neighbor that is being resolved.
const resolvePoll = 20 * time.Millisecond

// NeighborState looks up the entry of a neighbor at an interface. If the kernel is resolving the
// neighbor, NeighborState waits about a second for the answer. Requires Linux 5.0.
func (c *Conn) NeighborState(ctx context.Context, a netip.Addr, index int) (n NeighborState, err error) {
	for deadline := time.Now().Add(2 * requestInterval); ; {
		n, err = c.host.neighborState(a, index)
		if err != nil || !n.isResolving() || time.Now().After(deadline) {
			return n, err
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(resolvePoll):
		}
	}
}

// neighborState reads the entry of a neighbor.
func (s *socket) neighborState(a netip.Addr, index int) (n NeighborState, err error) {
	m := getNeighbor(a, index)
	if err := s.exchange(m); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		return n, err
	}
	h, attributes, ok := decodeHeader[unix.NdMsg](m.reply)
	if !ok {
		return n, netlink.ErrNoAnswer
	}
	n.State = h.State
	for kind, v := range netlink.All(attributes) {
		if kind == unix.NDA_CACHEINFO { // struct nda_cacheinfo: confirmed, used, updated, references
			n.Unused = time.Duration(readUint32(netlink.After(v, 4))) * time.Second / userHZ
			n.Unchanged = time.Duration(readUint32(netlink.After(v, 8))) * time.Second / userHZ
		}
	}
	return n, nil
}

// HasProxy reports whether an interface answers for an address of another host (ip neigh
// add proxy).
func (c *Conn) HasProxy(a netip.Addr, index int) (bool, error) {
	m := newMessage(unix.RTM_GETNEIGH, 0, "look up proxy neighbor "+a.String(),
		unix.NdMsg{Family: familyOf(a), Ifindex: int32(index), Flags: unix.NTF_PROXY})
	m.addr(unix.NDA_DST, a)
	err := c.host.exchange(m)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}
