package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// uplinkMTU finds uplinks whose MTU is too small for IPv6: the kernel then removes IPv6 from
// the interface, with its addresses and routes (addrconf_notify in net/ipv6/addrconf.c).
var uplinkMTU = Check{
	ID:       "uplink-mtu",
	Title:    "The MTU of an uplink is too small for IPv6",
	Severity: report.SeverityError,
	Reads:    "MTU of the IPv4 uplinks, IPv6 default routes",
	Applies:  "containers have IPv6 addresses, and the node has no IPv6 default route",
	Remedy:   "Raise the MTU of the uplink to 1280 or more.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		records := withFamily(n.masqueraded(), masq.IPv6)
		if len(records) == 0 {
			return nil, nil
		}
		if hops, err := n.nextHops(masq.IPv6); err != nil || len(hops) > 0 {
			return nil, err
		}
		hops, err := n.bestNextHops(masq.IPv4)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, h := range hops {
			if h.InterfaceMTU >= veth.MinMTU6 {
				continue
			}
			out = append(out, Finding{
				Severity: report.SeverityError,
				Object:   "uplink " + h.Interface,
				Message:  fmt.Sprintf("has an MTU of %d bytes: the kernel removes IPv6 from interfaces below %d", h.InterfaceMTU, veth.MinMTU6),
				Evidence: []Evidence{
					{"MTU of interface " + h.Interface, fmt.Sprint(h.InterfaceMTU)},
					{"IPv6 routes", "no default route"},
				},
				Why: "Packets of " + podsOf(records) + " to IPv6 destinations have no route.",
				Remedy: Remedy{
					Text:     "raise the MTU if the link can carry it, and restore the IPv6 addresses and routes of the interface",
					Commands: []string{fmt.Sprintf("ip link set dev %s mtu %d", report.ShellQuote(h.Interface), veth.MinMTU6)},
				},
			})
		}
		return out, nil
	},
}

// routeMTU finds default routes whose MTU is larger than the MTU of the interface. The kernel
// takes the MTU of the route (ip_dst_mtu_maybe_forward in include/net/ip.h), and sends
// packets that are larger than the link carries. The link loses them.
var routeMTU = Check{
	ID:       "route-mtu",
	Title:    "A default route has a larger MTU than its interface",
	Severity: report.SeverityError,
	Reads:    "MTU of default routes, of uplinks and of the links of containers",
	Applies:  "containers of the family are masqueraded, and their MTU is larger than the uplink's",
	Remedy:   "Remove the MTU from the route: ip route change.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		var out []Finding
		for _, f := range masq.Families {
			records := withFamily(n.masqueraded(), f)
			if len(records) == 0 {
				continue
			}
			hops, err := n.nextHops(f)
			if err != nil {
				return out, err
			}
			for _, h := range hops {
				if h.RouteMTU == 0 {
					continue
				}
				interfaces, err := n.interfaces()
				if err != nil {
					return out, err
				}
				// InterfaceMTU may be lower, as a router announced it for IPv6: the interface can
				// send larger packets.
				i, ok := interfaces[h.Index]
				if h.InterfaceMTU = i.MTU; !ok || h.RouteMTU <= h.InterfaceMTU {
					continue
				}
				larger, mtu, err := n.largerThan(records, h.InterfaceMTU)
				if err != nil {
					return out, err
				}
				if len(larger) > 0 {
					out = append(out, routeMTUFinding(h, larger, mtu))
				}
			}
		}
		return out, nil
	},
}

func routeMTUFinding(h veth.NextHop, larger []store.Record, mtu int) Finding {
	ip := "ip route change "
	if h.Family == masq.IPv6 {
		ip = "ip -6 route change "
	}
	plain := h
	plain.RouteMTU = 0
	command := ip + routeName(plain)
	if source := routeSource(h); source != routeSource(veth.NextHop{Family: h.Family}) {
		command += fmt.Sprintf(" table %d", h.Table)
	}
	return Finding{
		Severity: report.SeverityError,
		Object:   "route " + routeName(plain),
		Message:  fmt.Sprintf("has an MTU of %d bytes, and its interface has one of %d", h.RouteMTU, h.InterfaceMTU),
		Evidence: []Evidence{
			{routeSource(h), routeName(h)},
			{"MTU of interface " + h.Interface, fmt.Sprint(h.InterfaceMTU)},
			{"MTU of the link of " + podsOf(larger), fmt.Sprint(mtu)},
		},
		Why:    fmt.Sprintf("Packets of containers with %d to %d bytes are larger than the link carries, and are lost without an ICMP error: connections freeze when they send much.", h.InterfaceMTU+1, min(h.RouteMTU, mtu)),
		Remedy: Remedy{Text: "remove the MTU from the route; keep its other attributes", Commands: []string{command}},
	}
}

// largerThan returns the records whose links have an MTU that is larger than a number of
// bytes, and the largest.
func (n *Node) largerThan(records []store.Record, bytes int) (larger []store.Record, mtu int, err error) {
	for _, r := range records {
		own, err := n.linkMTU(&r)
		if err != nil {
			return nil, 0, err
		}
		if own > bytes {
			larger, mtu = append(larger, r), max(mtu, own)
		}
	}
	return larger, mtu, nil
}

// linkMTU returns the MTU of a container's link: of its record or, if that has none, of the
// node's interface that leads to it. It is 0 if both are unknown.
func (n *Node) linkMTU(r *store.Record) (int, error) {
	if r.MTU > 0 {
		return r.MTU, nil
	}
	links, err := n.containerLinks()
	if err != nil {
		return 0, err
	}
	interfaces, err := n.interfaces()
	if err != nil {
		return 0, err
	}
	for _, a := range r.Addresses {
		if i, ok := interfaces[links[a]]; ok {
			return i.MTU, nil
		}
	}
	return 0, nil
}
