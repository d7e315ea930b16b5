package veth

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// known is what a Watcher knows of the node. The kernel repeats itself: for each
// router advertisement it tells all that it knows of an address, for each change of
// an interface all that it knows of that.
type known struct {
	links     map[int32]state
	addresses map[netip.Addr][]place // global ones that can be used
}

// state is what matters of an interface. It has no pointers: there may be 50,000.
type state struct {
	name              [unix.IFNAMSIZ]byte
	flags, mtu, group uint32
	mac               [6]byte // only for links that Add made
	lostCarrier       bool    // since it last had one
}

// stateFlags are those flags of an interface that matter.
const stateFlags = unix.IFF_UP | unix.IFF_RUNNING

func (s state) isManaged() bool { return masq.IsManagedGroup(s.group) }

// place is where an address is: a node may have one twice.
type place struct {
	index int
	bits  int
}

// learn reads everything. What a list has passed over because it changed meanwhile is
// in one of the next attempts, and what one attempt has found stays: the Watcher
// receives a notification of what has gone since it began to listen. So a list that
// changes in each attempt is no error here.
func learn(c *socket) (known, error) {
	k := known{links: map[int32]state{}, addresses: map[netip.Addr][]place{}}
	addresses := listAddresses(unix.AF_UNSPEC, 0)
	var errs []error
	for _, list := range []struct {
		*message
		take func([]byte)
	}{
		{listLinks(), func(b []byte) { k.link(b) }},
		{addresses, func(b []byte) { k.address(b) }},
	} {
		if err := c.dump(list.message, func() {}, list.take); !errors.Is(err, netlink.ErrInterrupted) {
			errs = append(errs, err)
		}
	}
	return k, errors.Join(errs...)
}

// link takes note of an RTM_NEWLINK, and reports whether it is news. damaged is the
// interface if it is a link of ours that has lost something that Add gave it, or may
// have lost it with the carrier that returned.
func (k *known) link(body []byte) (news bool, damaged int) {
	index, now, ok := readState(body)
	if !ok {
		return false, 0
	}
	was, found := k.links[index]
	lost, gained := was.flags&^now.flags, now.flags&^was.flags
	returns := was.lostCarrier && gained&unix.IFF_RUNNING != 0
	now.lostCarrier = lost&unix.IFF_RUNNING != 0 || was.lostCarrier && !returns
	k.links[index] = now
	if !now.isManaged() && !was.isManaged() {
		return !found || now != was, 0
	}
	was.flags, was.lostCarrier = now.flags, now.lostCarrier
	changed := now != was
	// Without a carrier the kernel may delete proxy neighbors. They can be restored when
	// it returns.
	if found && (changed || returns || lost&unix.IFF_UP != 0) {
		damaged = int(index)
	}
	return found && (changed || lost != 0), damaged
}

// linkGone takes note of an RTM_DELLINK, and reports whether it is news.
func (k *known) linkGone(body []byte) bool {
	info, _, ok := linkHeader(body)
	if ok {
		delete(k.links, info.Index)
	}
	return ok
}

// linkHeader decodes a message about an interface. It returns false for a message about
// the port of a bridge, for which the kernel uses the same type (family AF_BRIDGE): the
// interface stays when the port is removed.
func linkHeader(body []byte) (info unix.IfInfomsg, attributes []byte, ok bool) {
	info, attributes, ok = decodeHeader[unix.IfInfomsg](body)
	return info, attributes, ok && info.Family == unix.AF_UNSPEC
}

// readState reads the body of an RTM_NEWLINK. The bool is false for one that does
// not tell the state of an interface: wireless drivers report scans by it.
func readState(body []byte) (index int32, s state, ok bool) {
	info, attributes, ok := linkHeader(body)
	if !ok {
		return 0, state{}, false
	}
	ok = false
	s.flags = info.Flags & stateFlags
	for kind, v := range netlink.All(attributes) {
		switch kind {
		case unix.IFLA_IFNAME:
			copy(s.name[:], v)
		case unix.IFLA_MTU:
			s.mtu = readUint32(v)
		case unix.IFLA_GROUP:
			s.group, ok = readUint32(v), true
		case unix.IFLA_ADDRESS:
			copy(s.mac[:], v)
		}
	}
	if !s.isManaged() {
		s.mac = [6]byte{}
	}
	return info.Index, s, ok
}

// address takes note of an RTM_NEWADDR, and reports whether it is news.
func (k *known) address(body []byte) bool {
	a, at, usable, ok := readPlace(body)
	if !ok {
		return false
	}
	if !usable {
		return k.drop(a, at)
	}
	if slices.Contains(k.addresses[a], at) {
		return false
	}
	k.addresses[a] = append(k.addresses[a], at)
	return true
}

// addressGone takes note of an RTM_DELADDR. It reports whether that is news, and
// returns the address if no interface has it any longer.
func (k *known) addressGone(body []byte) (news bool, gone netip.Addr) {
	a, at, usable, ok := readPlace(body)
	if !ok || !k.drop(a, at) && !usable {
		return false, netip.Addr{}
	}
	if len(k.addresses[a]) > 0 {
		return true, netip.Addr{}
	}
	return true, a
}

// drop reports whether the address was there.
func (k *known) drop(a netip.Addr, at place) bool {
	places := k.addresses[a]
	i := slices.Index(places, at)
	switch {
	case i < 0:
		return false
	case len(places) == 1:
		delete(k.addresses, a)
	default:
		k.addresses[a] = slices.Delete(places, i, i+1)
	}
	return true
}

// readPlace reads a global address. It is not usable while the kernel looks for
// duplicates, or after it has found one.
func readPlace(body []byte) (a netip.Addr, at place, usable, ok bool) {
	o, ok := readAddress(body)
	if !ok || !o.Addr().IsGlobalUnicast() {
		return netip.Addr{}, place{}, false, false
	}
	var flags uint32
	for kind, v := range netlink.All(body[unix.SizeofIfAddrmsg:]) {
		if kind == unix.IFA_FLAGS {
			flags = readUint32(v)
		}
	}
	return o.Addr(), place{o.index, o.Bits()}, flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0, true
}

// route reports whether an RTM_NEWROUTE or RTM_DELROUTE is news. damaged is the
// interface of a route to a container of ours that was deleted.
func (k *known) route(kind uint16, body []byte) (news bool, damaged int) {
	info, attributes, ok := decodeHeader[unix.RtMsg](body)
	if !ok || info.Flags&unix.RTM_F_CLONED != 0 {
		return false, 0
	}
	index := 0
	for kind, v := range netlink.All(attributes) {
		if kind == unix.RTA_OIF {
			index = int(readUint32(v))
		}
	}
	switch {
	case k.links[int32(index)].isManaged():
		if kind == unix.RTM_DELROUTE && info.Type == unix.RTN_UNICAST {
			return false, index
		}
		return false, 0
	// The kernel adds and removes these with an address or an interface.
	case info.Protocol == unix.RTPROT_KERNEL && info.Dst_len > 0:
		return false, 0
	}
	return true, 0
}

// gatewayGone returns the interface of a link of ours that an RTM_DELADDR is about.
func (k *known) gatewayGone(body []byte) (damaged int) {
	o, ok := readAddress(body)
	if ok && k.links[int32(o.index)].isManaged() {
		return o.index
	}
	return 0
}

// readForwarding reports whether an RTM_NEWNETCONF says that an interface, or the
// node, does not forward any longer. Of force_forwarding the kernel says that it has
// changed and not to what: then it returns the index of the interface.
func readForwarding(body []byte) (off bool, unclear int) {
	if len(body) == 0 {
		return false, 0
	}
	var index, forwarding uint32
	var said, more bool
	for kind, v := range netlink.All(netlink.After(body, unix.NLMSG_ALIGNTO)) {
		switch kind {
		case netconfIndex:
			index = readUint32(v)
		case netconfForwarding:
			said, forwarding = true, readUint32(v)
		default:
			more = true
		}
	}
	switch {
	case index == netconfDefault: // of interfaces to come
	case more: // all there is to say of an interface that is new
	case said:
		return forwarding == 0, 0
	case body[0] == unix.AF_INET6 && index != netconfAll: // each interface has its own
		return false, int(index)
	}
	return false, 0
}
