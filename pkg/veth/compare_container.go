package veth

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strconv"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// CompareContainer compares the container's side of one link with what [Conn.Add] made,
// and returns the differences. It compares the interface, its other end, MTU and state, its
// addresses, its routes and the MAC of its gateway. It enters the container's network
// namespace by its path, which requires CAP_SYS_ADMIN. Without that, it returns one
// Difference, KindNamespace and NotChecked; if the path does not exist, KindNamespace and
// Missing.
//
// Fields that a pair does not have are not compared: see [Pair.Partial]. A lower MTU and
// another MAC are no differences: the tuning plugin sets them.
func (c *Conn) CompareContainer(p Pair) ([]Difference, error) {
	e := containerEnd{pair: p}
	unseen := Difference{Kind: KindNamespace, Object: p.NetNS}
	ns, err := openNamespace(p.NetNS)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		unseen.Reason = masq.Missing
	case errors.Is(err, fs.ErrPermission):
		unseen.Reason, unseen.Have = masq.NotChecked, err.Error()
	case err != nil:
		return nil, err
	}
	if unseen.Reason != 0 {
		e.add(unseen)
		return e.found, nil
	}
	defer ns.close()
	inside, err := ns.dial(containerBuffer)
	// EINVAL means that the file is not a namespace: when a namespace below /run/netns is
	// unmounted, its file stays.
	switch {
	case errors.Is(err, unix.EINVAL):
		unseen.Reason = masq.Missing
	case errors.Is(err, unix.EPERM):
		unseen.Reason, unseen.Have = masq.NotChecked, "CAP_SYS_ADMIN is needed to enter it"
	case err != nil:
		return nil, err
	}
	if unseen.Reason != 0 {
		e.add(unseen)
		return e.found, nil
	}
	defer inside.close()
	ends, err := c.ends([]Pair{p})
	if err != nil {
		return nil, err
	}
	if h := ends[0]; h.index != 0 && h.alias == p.Identity {
		e.host = h
	} else {
		e.host.pair = &e.pair
	}
	if err = e.compare(inside); err == nil && p.MTUProbing {
		err = e.compareProbing(ns)
	}
	return e.found, err
}

// containerEnd is the container's end of a pair.
type containerEnd struct {
	device
	pair  Pair
	host  end // with index 0, values that follow from it are not compared
	found []Difference
}

func (c *containerEnd) add(d Difference) {
	d.Identity, d.Side, d.Interface = c.pair.Identity, ContainerSide, c.pair.Interface
	c.found = append(c.found, d)
}

func (c *containerEnd) compare(s *socket) (err error) {
	p := c.pair
	c.device, err = s.find(p.Interface)
	if errors.Is(err, errNoDevice) {
		c.add(Difference{Kind: KindInterface, Reason: masq.Missing, Object: p.Interface})
		return nil
	}
	if err != nil {
		return err
	}
	changed := func(kind Kind, have, want string) {
		c.add(Difference{Kind: kind, Reason: masq.Changed, Object: p.Interface, Have: have, Want: want})
	}
	if c.host.index != 0 && (c.peer != c.host.index || c.host.peer != c.index) {
		changed(KindPeer, "another", c.host.name)
	}
	// The tuning plugin may have lowered the MTU. If it is above the MTU of the host's end,
	// the kernel drops packets silently (is_skb_forwardable in net/core/dev.c).
	if p.MTU != 0 && c.mtu > p.MTU {
		changed(KindMTU, strconv.Itoa(c.mtu), strconv.Itoa(p.MTU)+" or less")
	}
	if !c.isUp() {
		changed(KindState, "down", "up")
	}
	return errors.Join(c.compareAddresses(s), c.compareRoutes(s), c.compareNeighbor(s))
}

// compareProbing compares the setting of the container's network namespace.
func (c *containerEnd) compareProbing(ns namespace) error {
	value, err := ns.read(mtuProbing)
	if err == nil && value == 0 {
		c.add(Difference{Kind: KindSetting, Reason: masq.Changed, Object: mtuProbing.key(), Have: "0", Want: strconv.Itoa(mtuProbing.value)})
	}
	return err
}

func (c *containerEnd) compareAddresses(s *socket) error {
	have, err := s.addresses(c.index)
	if err != nil {
		return err
	}
	for _, a := range c.pair.Addresses {
		same := func(o ifaceAddr) bool {
			return o.index == c.index && (o.Prefix == a || c.pair.Partial && o.Addr() == a.Addr())
		}
		if !slices.ContainsFunc(have, same) {
			object := a.String()
			if c.pair.Partial {
				object = a.Addr().String()
			}
			c.add(Difference{Kind: KindAddress, Reason: masq.Missing, Object: object})
		}
	}
	return nil
}

// compareRoutes compares the routes, if the host's end exists: the gateways follow from it.
func (c *containerEnd) compareRoutes(s *socket) error {
	if c.host.index == 0 || c.pair.Partial {
		return nil
	}
	have, err := s.routes(c.index)
	if err != nil {
		return err
	}
	for _, want := range c.pair.routes() {
		gw := gateway4
		if masq.FamilyOf(want.Dst.Addr()) == masq.IPv6 {
			gw = c.host.gateway6()
		}
		c.compareRoute(have, containerRoute(want, gw, c.index))
	}
	return nil
}

// compareRoute searches the interface's routes for one route. The protocol is not
// compared.
func (c *containerEnd) compareRoute(have []route, want route) {
	d := Difference{Kind: KindRoute, Reason: masq.Missing, Object: want.String()}
	if want.priority == defaultPriority6 && want.dst.Addr().Is6() {
		want.priority = 0 // as readRoute returns it
	}
	if want.table == unix.RT_TABLE_MAIN {
		want.table = 0
	}
	for _, r := range have {
		r.protocol = want.protocol
		if r == want {
			return
		}
		if r.key() == want.key() {
			d.Reason, d.Have, d.Want = masq.Changed, r.attributes(), want.attributes()
		}
	}
	c.add(d)
}

// compareNeighbor compares the MAC in the container's neighbor entry of its gateway.
func (c *containerEnd) compareNeighbor(s *socket) error {
	if c.host.index == 0 || !c.pair.has(masq.IPv4) {
		return nil
	}
	m := getNeighbor(gateway4, c.index)
	_ = s.exchange(m) // mac reads the error
	mac, found, err := m.mac()
	// A missing entry is no difference: the kernel deletes it when the tuning plugin changes
	// the MAC of the container's end, and the host's end answers ARP then.
	if err == nil && found && !bytes.Equal(mac, c.host.mac) {
		c.add(Difference{Kind: KindNeighbor, Reason: masq.Changed, Object: gateway4.String(), Have: mac.String(), Want: c.host.mac.String()})
	}
	return err
}
