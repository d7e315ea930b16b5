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

// CompareContainer returns what the container's side of one link lacks of what
// [Conn.Add] made: the interface, its other end, MTU and state, its addresses, its
// routes and the MAC of its gateway. It enters the container's network namespace by
// its path, which takes CAP_SYS_ADMIN. Where that is refused, the one Difference is
// KindNamespace, NotChecked; where the path leads nowhere, KindNamespace, Missing.
//
// What a pair does not say is not compared: see [Pair.Partial]. A lower MTU and
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
	inside, err := ns.dial()
	// What is no namespace at all is EINVAL, such as the file that is left below
	// /run/netns when its namespace is gone.
	switch {
	case errors.Is(err, unix.EINVAL):
		unseen.Reason = masq.Missing
	case errors.Is(err, unix.EPERM):
		unseen.Reason, unseen.Have = masq.NotChecked, "entering it takes CAP_SYS_ADMIN"
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
	err = e.compare(inside)
	return e.found, err
}

// containerEnd is the container's end of a pair.
type containerEnd struct {
	device
	pair  Pair
	host  end // index 0: what follows from it is not compared
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
	// The tuning plugin may have lowered it. If it is above the MTU of the host's end,
	// the kernel drops packets silently (is_skb_forwardable in net/core/dev.c).
	if p.MTU != 0 && c.mtu > p.MTU {
		changed(KindMTU, strconv.Itoa(c.mtu), strconv.Itoa(p.MTU)+" or less")
	}
	if !c.isUp() {
		changed(KindState, "down", "up")
	}
	return errors.Join(c.compareAddresses(s), c.compareRoutes(s), c.compareNeighbor(s))
}

func (c *containerEnd) compareAddresses(s *socket) error {
	have, err := s.addresses(c.index)
	if err != nil {
		return err
	}
	for _, a := range c.pair.Addresses {
		same := func(o owned) bool {
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

// compareRoutes needs the host's end: the gateways follow from it.
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
		c.compareRoute(have, viaOf(want, gw, c.index))
	}
	return nil
}

// compareRoute searches the interface's routes for one route. The protocol is not
// compared.
func (c *containerEnd) compareRoute(have []via, want via) {
	d := Difference{Kind: KindRoute, Reason: masq.Missing, Object: want.String()}
	if want.priority == defaultPriority6 && want.dst.Addr().Is6() {
		want.priority = 0 // as readRoute has it
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

// compareNeighbor compares the MAC that the container knows of its gateway.
func (c *containerEnd) compareNeighbor(s *socket) error {
	if c.host.index == 0 || !c.pair.has(masq.IPv4) {
		return nil
	}
	m := getNeighbour(gateway4, c.index)
	_ = s.exchange(m) // mac reads the error
	mac, found, err := m.mac()
	// The tuning plugin may have changed the MAC of the container's end, which
	// loses the entry. The host's end answers then.
	if err == nil && found && !bytes.Equal(mac, c.host.mac) {
		c.add(Difference{Kind: KindNeighbor, Reason: masq.Changed, Object: gateway4.String(), Have: mac.String(), Want: c.host.mac.String()})
	}
	return err
}
