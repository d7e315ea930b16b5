package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// queryLinks reads a fact by rtnetlink.
func queryLinks[T any](n *Node, name string, query func(*veth.Conn) (T, error)) (T, error) {
	return read(n, name, func() (x T, err error) {
		c, err := veth.Open()
		if err != nil {
			return x, err
		}
		defer func() { _ = c.Close() }()
		return query(c)
	})
}

// ready returns the examined attachments whose ADD has succeeded.
func (n *Node) ready() []store.Record {
	return slices.DeleteFunc(slices.Clone(n.Records), func(r store.Record) bool { return !r.Ready })
}

// masqueraded returns the ready attachments of which some packets are masqueraded.
func (n *Node) masqueraded() []store.Record {
	return slices.DeleteFunc(n.ready(), func(r store.Record) bool { return r.Policy == nil || r.Policy.EgressDirect })
}

// hasAddressOf reports whether an attachment has an address of a family.
func hasAddressOf(r *store.Record, f masq.Family) bool {
	return slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return masq.FamilyOf(a) == f })
}

// withFamily returns the records that have an address of a family.
func withFamily(all []store.Record, f masq.Family) []store.Record {
	return slices.DeleteFunc(slices.Clone(all), func(r store.Record) bool { return !hasAddressOf(&r, f) })
}

// nextHops returns the next hops of the default routes of a family.
func (n *Node) nextHops(f masq.Family) ([]veth.NextHop, error) {
	return queryLinks(n, "next hops "+f.String(), func(c *veth.Conn) ([]veth.NextHop, error) { return c.DefaultNextHops(f) })
}

// bestNextHops returns those next hops that packets without a mark take.
func (n *Node) bestNextHops(f masq.Family) ([]veth.NextHop, error) {
	all, err := n.nextHops(f)
	return slices.DeleteFunc(slices.Clone(all), func(h veth.NextHop) bool { return !h.Best }), err
}

// interfaces returns the interfaces of the node by index.
func (n *Node) interfaces() (map[int]veth.Interface, error) {
	return queryLinks(n, "interfaces", func(c *veth.Conn) (map[int]veth.Interface, error) {
		all, err := c.Interfaces()
		out := make(map[int]veth.Interface, len(all))
		for _, i := range all {
			out[i.Index] = i
		}
		return out, err
	})
}

// ReadAhead reads what takes longest of the facts that need neither flows nor containers, while
// the caller waits for these.
func (n *Node) ReadAhead() {
	_, _ = n.interfaces() // the checks get its error
	for _, f := range masq.Families {
		_, _ = n.nextHops(f)
	}
}

func (n *Node) addresses() ([]veth.InterfaceAddress, error) {
	return queryLinks(n, "addresses", (*veth.Conn).Addresses)
}

// containerLinks returns, for each address of the examined attachments, the index of the
// interface that leads to it. Addresses without a route are omitted.
func (n *Node) containerLinks() (map[netip.Addr]int, error) {
	return queryLinks(n, "links of containers", func(c *veth.Conn) (map[netip.Addr]int, error) {
		var addrs []netip.Addr
		for _, r := range n.ready() {
			addrs = append(addrs, r.Addresses...)
		}
		indexes, err := c.InterfacesTo(addrs)
		out := make(map[netip.Addr]int, len(addrs))
		for i, index := range indexes {
			if index != 0 {
				out[addrs[i]] = index
			}
		}
		return out, err
	})
}

// confKey returns the key of a setting of an interface for Node.sysctl.
func confKey(f masq.Family, iface, name string) string {
	return "net/ipv" + f.String() + "/conf/" + iface + "/" + name
}

// sysctlName returns a key with slashes as sysctl(8) writes it: with dots, unless a name in
// the key has dots, as names of VLANs do.
func sysctlName(key string) string {
	if strings.Contains(key, ".") {
		return key
	}
	return strings.ReplaceAll(key, "/", ".")
}

// setSysctl returns the command that sets a key.
func setSysctl(key, value string) string {
	return "sysctl -w " + report.ShellQuote(sysctlName(key)+"="+value)
}

// sysctlEvidence returns the evidence of a setting.
func (n *Node) sysctlEvidence(key string) Evidence {
	v, err := n.sysctl(key)
	if err != nil {
		v = "not readable: " + err.Error()
	}
	return Evidence{sysctlName(key), v}
}

// routeName names a next hop as ip-route(8) writes it.
func routeName(h veth.NextHop) string {
	s := h.Destination.String()
	if h.Destination.Bits() == 0 {
		s = "default"
	}
	if h.Gateway.IsValid() {
		s += " via " + h.Gateway.String()
	}
	s += " dev " + h.Interface
	if h.RouteMTU > 0 {
		s += fmt.Sprintf(" mtu %d", h.RouteMTU)
	}
	return s
}

// routeSource names where a next hop was read: "IPv4 routes", or with the table.
func routeSource(h veth.NextHop) string {
	s := "IPv" + h.Family.String() + " routes"
	const main = 254
	if h.Table != main && h.Table != 0 {
		s += fmt.Sprintf(" of table %d", h.Table)
	}
	return s
}

// podsOf names the pods of records: "shop/cart", or "shop/cart and 2 other containers".
func podsOf(all []store.Record) string {
	s := report.OwnerOf(all[0].Attachment).Pod()
	if len(all) > 1 {
		s += " and " + report.Plural(len(all)-1, "other container")
	}
	return s
}

// listed joins names for a sentence, at most three of them: "a", "a and b", "a, b, c and 4
// others".
func listed(names []string) string {
	const most = 3
	if len(names) > most+1 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d others", len(names)-most))
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
