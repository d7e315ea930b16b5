package veth

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// observed is the state of the node as a Watcher last received it. With it the Watcher
// finds out which notifications are changes: the kernel sends all attributes of an address
// for each router advertisement, and all attributes of an interface for each change.
type observed struct {
	links     map[int32]linkState
	addresses map[netip.Addr][]addressPlace // global and usable
}

// linkState holds the attributes of an interface that are compared. It has no pointers, so
// that the garbage collector need not scan 50,000 of them.
type linkState struct {
	name              [unix.IFNAMSIZ]byte
	flags, mtu, group uint32
	mac               [6]byte // only for links that Add made
	lostCarrier       bool    // since it last had one
}

// stateFlags are the flags of an interface that are compared.
const stateFlags = unix.IFF_UP | unix.IFF_RUNNING

func (s linkState) isManaged() bool { return masq.IsManagedGroup(s.group) }

// addressPlace is where an address is: two interfaces may have the same address.
type addressPlace struct {
	index int
	bits  int
}

// observe reads all links and addresses. If a list changes while it is read, the objects of
// all attempts are kept, since the Watcher receives a notification of each object that is
// deleted after it subscribed. So netlink.ErrInterrupted is no error here.
func observe(c *socket) (observed, error) {
	k := observed{links: map[int32]linkState{}, addresses: map[netip.Addr][]addressPlace{}}
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

// link stores an RTM_NEWLINK and reports whether it is a change. damaged is the index of
// the interface if it is a managed link that differs from what Add made, or may differ
// because its carrier returned.
func (k *observed) link(body []byte) (changed bool, damaged int) {
	index, now, ok := readLinkState(body)
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
	differs := now != was
	// When the carrier is lost, the kernel may delete proxy neighbors. They can be restored
	// when it returns.
	if found && (differs || returns || lost&unix.IFF_UP != 0) {
		damaged = int(index)
	}
	return found && (differs || lost != 0), damaged
}

// linkDeleted stores an RTM_DELLINK, and reports whether it is about an interface.
func (k *observed) linkDeleted(body []byte) bool {
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

// readLinkState reads the body of an RTM_NEWLINK. It returns false for a message without
// the state of an interface: wireless drivers report scans by such messages.
func readLinkState(body []byte) (index int32, s linkState, ok bool) {
	info, attributes, ok := linkHeader(body)
	if !ok {
		return 0, linkState{}, false
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

// address stores an RTM_NEWADDR, and reports whether it is a change.
func (k *observed) address(body []byte) bool {
	a, at, usable, ok := readAddressPlace(body)
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

// addressDeleted stores an RTM_DELADDR. It reports whether that is a change, and returns
// the address if no other interface has it.
func (k *observed) addressDeleted(body []byte) (changed bool, removed netip.Addr) {
	a, at, usable, ok := readAddressPlace(body)
	if !ok || !k.drop(a, at) && !usable {
		return false, netip.Addr{}
	}
	if len(k.addresses[a]) > 0 {
		return true, netip.Addr{}
	}
	return true, a
}

// drop removes an address, and reports whether the interface had it.
func (k *observed) drop(a netip.Addr, at addressPlace) bool {
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

// readAddressPlace reads a global address. An address is not usable during duplicate address
// detection, and after that has found a duplicate.
func readAddressPlace(body []byte) (a netip.Addr, at addressPlace, usable, ok bool) {
	o, ok := readAddress(body)
	if !ok || !o.Addr().IsGlobalUnicast() {
		return netip.Addr{}, addressPlace{}, false, false
	}
	var flags uint32
	for kind, v := range netlink.All(body[unix.SizeofIfAddrmsg:]) {
		if kind == unix.IFA_FLAGS {
			flags = readUint32(v)
		}
	}
	return o.Addr(), addressPlace{o.index, o.Bits()}, flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0, true
}

// route reports whether an RTM_NEWROUTE or RTM_DELROUTE may change the uplinks. damaged is
// the interface of a deleted route to a container of the plugin.
func (k *observed) route(kind uint16, body []byte) (changed bool, damaged int) {
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
	// The kernel adds and deletes these together with an address or an interface.
	case info.Protocol == unix.RTPROT_KERNEL && info.Dst_len > 0:
		return false, 0
	}
	return true, 0
}

// gatewayDeleted returns the interface of an RTM_DELADDR if it is a managed link.
func (k *observed) gatewayDeleted(body []byte) (damaged int) {
	o, ok := readAddress(body)
	if ok && k.links[int32(o.index)].isManaged() {
		return o.index
	}
	return 0
}

// readForwarding reports whether an RTM_NEWNETCONF disables forwarding, of an interface or
// the node. If force_forwarding changed, the message does not have the new value, and
// readForwarding returns the index of the interface.
func readForwarding(body []byte) (off bool, unclear int) {
	if len(body) == 0 {
		return false, 0
	}
	var index, forwarding uint32
	var hasForwarding, hasMore bool
	for kind, v := range netlink.All(netlink.After(body, unix.NLMSG_ALIGNTO)) {
		switch kind {
		case netconfIndex:
			index = readUint32(v)
		case netconfForwarding:
			hasForwarding, forwarding = true, readUint32(v)
		default:
			hasMore = true
		}
	}
	switch {
	case index == netconfDefault: // for interfaces that will be made
	case hasMore: // all settings of a new interface
	case hasForwarding:
		return forwarding == 0, 0
	case body[0] == unix.AF_INET6 && index != netconfAll: // force_forwarding of an interface
		return false, int(index)
	}
	return false, 0
}
