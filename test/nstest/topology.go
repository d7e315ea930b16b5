package nstest

import (
	"errors"
	"fmt"
	"net/netip"
)

// Uplink configures the link between the node of a Topology and its router.
type Uplink struct {
	// MTU of the link between node and router, 1500 if 0. Below 1280 the
	// topology is IPv4 only, as the kernel has no IPv6 on such a link.
	MTU int
	// DropPMTU makes the router drop ICMP "fragmentation needed" and ICMPv6 "packet too
	// big", its own and forwarded ones, so that no host learns of a narrow link.
	DropPMTU bool
}

// Topology is the network outside the containers:
//
//	node --[uplink, MTU as asked]-- router --[1500]-- server
//	     uplink             tonode         toserver  eth0
//
// The names below are interface names. The node has default routes to the router. The server
// has routes to the uplink network only: a packet with a container's address reaches it, is
// recorded, and gets no answer.
type Topology struct {
	Node, Router, Server *NS
	V4, V6               Plan // V6 is zero if the MTU has no room for it
}

// Plan has the addresses of a Topology in one family.
type Plan struct {
	UplinkNet, ServerNet netip.Prefix
	Node                 netip.Addr // address on the uplink
	Router               netip.Addr // on the uplink: the node's gateway
	Server               netip.Addr
	serverGateway        netip.Addr
}

// Topology builds node, router and server. It attaches no containers and does not enable
// forwarding on the node, because that is the task of the tested programs.
func (l *Lab) Topology(u Uplink) (*Topology, error) {
	if u.MTU == 0 {
		u.MTU = 1500
	}
	t := &Topology{V4: plan("192.0.2.0/24", "198.51.100.0/24")}
	if u.MTU >= 1280 {
		t.V6 = plan("2001:db8:1::/64", "2001:db8:2::/64")
	}
	if err := t.build(l, u); err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	return t, nil
}

// Plans returns the plans of the topology's families, IPv4 first.
func (t *Topology) Plans() []Plan {
	if t.V6 == (Plan{}) {
		return []Plan{t.V4}
	}
	return []Plan{t.V4, t.V6}
}

func (t *Topology) build(l *Lab, u Uplink) error {
	for _, s := range []struct {
		ns   **NS
		name string
	}{{&t.Node, "node"}, {&t.Router, "router"}, {&t.Server, "server"}} {
		n, err := l.Namespace(s.name)
		if err != nil {
			return err
		}
		*s.ns = n
	}
	node, tonode := End{NS: t.Node, Name: "uplink"}, End{NS: t.Router, Name: "tonode"}
	toserver, server := End{NS: t.Router, Name: "toserver"}, End{NS: t.Server, Name: "eth0"}
	for _, p := range t.Plans() {
		on := func(e *End, a netip.Addr, net netip.Prefix) {
			e.Addresses = append(e.Addresses, netip.PrefixFrom(a, net.Bits()))
		}
		on(&node, p.Node, p.UplinkNet)
		on(&tonode, p.Router, p.UplinkNet)
		on(&toserver, p.serverGateway, p.ServerNet)
		on(&server, p.Server, p.ServerNet)
	}
	if err := errors.Join(Connect(node, tonode, u.MTU), Connect(toserver, server, 1500)); err != nil {
		return err
	}
	for _, p := range t.Plans() {
		everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if p.Node.Is6() {
			everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		err := errors.Join(t.Node.Route(everywhere, p.Router), t.Server.Route(p.UplinkNet, p.serverGateway))
		if err != nil {
			return err
		}
	}
	if u.DropPMTU {
		if err := t.Router.DropPMTU(); err != nil {
			return err
		}
	}
	return t.Router.Forward()
}

// plan numbers the hosts of the two networks: routers are 1, the others 2.
func plan(uplink, server string) Plan {
	up, srv := netip.MustParsePrefix(uplink), netip.MustParsePrefix(server)
	router, gateway := up.Addr().Next(), srv.Addr().Next()
	return Plan{
		UplinkNet: up, Router: router, Node: router.Next(),
		ServerNet: srv, serverGateway: gateway, Server: gateway.Next(),
	}
}
