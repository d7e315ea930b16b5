package veth

import (
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"golang.org/x/sys/unix"
)

// compareProxies compares the proxy neighbors of the host's ends, and their delay.
func (c *Conn) compareProxies(ends []end) error {
	var with []*end
	for i := range ends {
		if e := &ends[i]; e.index != 0 && e.pair.has(masq.IPv4) {
			with = append(with, e)
		}
	}
	if len(with) == 0 {
		return nil
	}
	only := 0
	if len(with) == 1 {
		only = with[0].index
	}
	have, err := c.proxies(only)
	if err != nil {
		return err
	}
	delays, err := c.proxyDelays(with)
	if err != nil {
		return err
	}
	for _, e := range with {
		// The kernel can omit entries of a list while others are added and deleted.
		if !have[e.index] && only == 0 {
			own, err := c.proxies(e.index)
			if err != nil {
				return err
			}
			have[e.index] = own[e.index]
		}
	}
	for i, e := range with {
		d := Difference{Kind: KindProxy, Reason: masq.Missing, Object: gateway4.String()}
		switch {
		case !have[e.index]:
			e.add(d)
		case delays[i] > 0:
			d.Reason, d.Have, d.Want = masq.Changed, strconv.Itoa(delays[i])+" ticks", "0"
			e.add(d)
		}
	}
	return nil
}

// proxies returns the interfaces that answer ARP for the containers' gateway; for an index
// other than 0, of this interface only.
func (c *Conn) proxies(index int) (map[int]bool, error) {
	m := newMessage(unix.RTM_GETNEIGH, 0, "list proxy neighbors", unix.NdMsg{Family: unix.AF_INET, Flags: unix.NTF_PROXY})
	if index != 0 {
		m.NativeUint32(unix.NDA_IFINDEX, uint32(index))
	}
	out := map[int]bool{}
	err := c.host.dump(m, func() { clear(out) }, func(b []byte) {
		for kind, v := range netlink.All(netlink.After(b, unix.SizeofNdMsg)) {
			if kind == unix.NDA_DST && slices.Equal(v, gateway4.AsSlice()) {
				out[int(int32(readUint32(b[4:])))] = true
			}
		}
	})
	return out, err
}

// proxyDelays returns the proxy_delay of each end in clock ticks; 0 if it is not known. By
// netlink only a list of all interfaces is possible, so for a few ends it reads /proc/sys.
func (c *Conn) proxyDelays(ends []*end) ([]int, error) {
	out := make([]int, len(ends))
	if len(ends) < listThreshold {
		return out, c.node.within(func() error {
			for i, e := range ends {
				b, err := os.ReadFile("/proc/sys/net/ipv4/neigh/" + e.name + "/proxy_delay")
				if err == nil { // not deleted meanwhile
					out[i], _ = strconv.Atoi(strings.TrimSpace(string(b)))
				}
			}
			return nil
		})
	}
	at := map[int]int{}
	for i, e := range ends {
		at[e.index] = i
	}
	m := newMessage(unix.RTM_GETNEIGHTBL, 0, "list neighbor parameters", familyHeader{unix.AF_INET})
	return out, c.host.dump(m, func() { clear(out) }, func(b []byte) {
		for kind, v := range netlink.All(netlink.After(b, len(familyHeader{}))) {
			if kind != ndtaParms {
				continue
			}
			index, delay := 0, uint64(0)
			for kind, v := range netlink.All(v) {
				switch {
				case kind == ndtpaIndex:
					index = int(readUint32(v))
				case kind == ndtpaProxyDelay && len(v) == 8:
					delay = binary.NativeEndian.Uint64(v) // in milliseconds
				}
			}
			if i, ok := at[index]; ok && b[0] == unix.AF_INET {
				out[i] = int(delay / 10)
			}
		}
	})
}
