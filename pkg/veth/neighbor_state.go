package veth

import (
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
	// Probes is the number of requests without an answer.
	Probes int
	// Unused is the time since the last packet to the neighbor.
	Unused time.Duration
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

// maxIncompleteProbes is the number of requests, sent one each second, that a neighbor may
// leave without an answer while it is resolved.
const maxIncompleteProbes = 1

// Unresolved reports whether the neighbor did not answer the kernel's requests. The kernel
// keeps a failed entry until it needs the room, so an entry that no packet has used
// recently shows nothing: recently is the time since the last packet that still counts.
func (n NeighborState) Unresolved(recently time.Duration) bool {
	if n.Unused > recently {
		return false
	}
	return n.State&unix.NUD_FAILED != 0 || n.State&unix.NUD_INCOMPLETE != 0 && n.Probes > maxIncompleteProbes
}

// userHZ is the unit of times that the kernel reports: ticks each second (USER_HZ).
const userHZ = 100

// NeighborState looks up the entry of a neighbor at an interface. Requires Linux 5.0.
func (c *Conn) NeighborState(a netip.Addr, index int) (n NeighborState, err error) {
	m := getNeighbor(a, index)
	if err := c.host.exchange(m); err != nil {
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
		switch kind {
		case unix.NDA_PROBES:
			n.Probes = int(readUint32(v))
		case unix.NDA_CACHEINFO: // struct nda_cacheinfo: confirmed, used, updated, references
			n.Unused = time.Duration(readUint32(netlink.After(v, 4))) * time.Second / userHZ
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
