package veth

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Interior is the state of an interface in a container's network namespace, and of the
// container's default routes.
type Interior struct {
	// Index is 0 if the interface does not exist.
	Index, MTU int
	Up         bool
	// Peer is the index of the other end of a veth, or of the parent of a macvlan; 0 for none.
	Peer     int
	Defaults []RouteOut // one for each requested family
	// ByGateway are the destinations of other routes by a gateway through the interface, if a
	// default route is missing.
	ByGateway []netip.Prefix
}

// RouteOut is the route of a container's packets that leave.
type RouteOut struct {
	Family masq.Family
	// Found is false if the container has no route to the Internet.
	Found bool
	Index int // index of the interface in the container
	MTU   int // a metric of the route; 0 for none
	// Gateway is invalid if the route has none, or several.
	Gateway netip.Addr
	// Neighbor is the container's entry of the gateway.
	Neighbor NeighborState
}

// ReadInterior reads the state of an interface in the network namespace of the calling thread.
// It takes two system calls, for any number of interfaces and routes.
func ReadInterior(iface string, families ...masq.Family) (in Interior, err error) {
	s, err := dial(containerBuffer)
	if err != nil {
		return Interior{}, err
	}
	defer s.close()
	link := getByName(iface)
	messages := []*message{link}
	for _, f := range families {
		messages = append(messages, lookUpRoute(probes[f], 0))
	}
	_ = s.exchange(messages...) // errors are in the messages
	switch d, err := link.device(); {
	case errors.Is(err, errNoDevice):
	case err != nil:
		return Interior{}, err
	default:
		in.Index, in.MTU, in.Up, in.Peer = d.index, d.mtu, d.isUp(), d.peer
	}
	for i, f := range families {
		r, err := messages[i+1].defaultRoute(f)
		if err != nil {
			return Interior{}, err
		}
		if !r.Found && in.Index != 0 && in.ByGateway == nil {
			if in.ByGateway, err = s.byGateway(in.Index); err != nil {
				return Interior{}, err
			}
		}
		if r.Gateway.IsValid() {
			r.Neighbor, _ = s.neighborState(r.Gateway, r.Index) // an entry that cannot be read proves nothing
		}
		in.Defaults = append(in.Defaults, r)
	}
	return in, nil
}

// byGateway returns the destinations of the routes through an interface that have a gateway.
func (s *socket) byGateway(index int) (out []netip.Prefix, err error) {
	all, err := s.routes(index)
	for _, r := range all {
		if r.gw.IsValid() {
			out = append(out, r.dst)
		}
	}
	return out, err
}

// defaultRoute reads the answer to lookUpRoute.
func (m *message) defaultRoute(f masq.Family) (RouteOut, error) {
	p, found, err := m.path()
	if err != nil || !found || p.kind != unix.RTN_UNICAST {
		return RouteOut{Family: f}, err
	}
	r := RouteOut{Family: f, Found: true, Index: p.index, MTU: p.mtu}
	_, attributes, _ := decodeHeader[unix.RtMsg](m.reply)
	for kind, v := range netlink.All(attributes) {
		if kind == unix.RTA_GATEWAY {
			r.Gateway, _ = netip.AddrFromSlice(v)
		}
	}
	return r, nil
}

// MTUs returns the MTU of interfaces of the node by index. It omits interfaces that do not
// exist.
func (c *Conn) MTUs(indexes []int) (map[int]int, error) {
	devices, err := c.host.devicesAt(indexes)
	if err != nil {
		return nil, err
	}
	out := map[int]int{}
	for _, d := range devices {
		if d.index != 0 {
			out[d.index] = d.mtu
		}
	}
	return out, nil
}
