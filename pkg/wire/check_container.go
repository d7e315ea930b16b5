package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// checkContainer compares the container's end. What follows from the host's end
// is left out where that is missing.
func checkContainer(host device, p Pair, l Link) error {
	ns, err := openNamespace(p.NetNS)
	if err != nil {
		return err
	}
	defer ns.close()
	c, err := ns.dial()
	if err != nil {
		return err
	}
	defer c.close()

	where := fmt.Sprintf("interface %s in network namespace %s", p.Interface, p.NetNS)
	d, err := c.find(p.Interface)
	if errors.Is(err, errNoDevice) {
		return fmt.Errorf("%s is missing", where)
	}
	if err != nil {
		return err
	}
	var f faults
	if !d.up() {
		f.add("%s is down", where)
	}
	if host.index != 0 && (d.peer != host.index || host.peer != d.index) {
		f.add("%s is not the other end of interface %s", where, host.name)
	}
	// The tuning plugin may have lowered it. Above that of the host's end,
	// packets are lost without a word (is_skb_forwardable in net/core/dev.c).
	if d.mtu > p.MTU {
		f.add("%s has MTU %d, more than %d", where, d.mtu, p.MTU)
	}
	if l.MAC != nil && !bytes.Equal(d.mac, l.MAC) {
		f.add("%s has MAC %s instead of %s", where, d.mac, l.MAC)
	}
	if err := checkAddresses(c, d, p, where); err != nil {
		f = append(f, err)
	}
	if host.index != 0 {
		if err := checkRoutes(c, d, host, p, l, where); err != nil {
			f = append(f, err)
		}
	}
	return errors.Join(f...)
}

func checkAddresses(c *conn, d device, p Pair, where string) error {
	have, err := c.addresses(d.index)
	if err != nil {
		return err
	}
	var f faults
	for _, a := range p.Addresses {
		if !slices.ContainsFunc(have, func(o owned) bool { return o.index == d.index && o.Prefix == a }) {
			f.add("address %s is missing from %s", a, where)
		}
	}
	return errors.Join(f...)
}

// checkRoutes compares the routes, and the MACs that their gateways must have.
func checkRoutes(c *conn, d, host device, p Pair, l Link, where string) error {
	have, err := c.routes(d.index)
	if err != nil {
		return err
	}
	var f faults
	for _, dst := range p.routes() {
		r := via{dst: dst, gw: l.gateway(masq.FamilyOf(dst.Addr()), host), index: d.index}
		if !slices.Contains(have, r) {
			f.add("route %s is missing from %s", r, where)
		}
	}
	if !p.has(masq.IPv4) {
		return errors.Join(f...)
	}
	m := getNeighbour(gateway4, d.index)
	_ = c.exchange(m) // mac reads the error
	mac, found, err := m.mac()
	switch {
	case err != nil:
		f = append(f, err)
	// The tuning plugin may have changed the MAC of the container's end, which
	// loses the entry. The host's end answers then.
	case found && !bytes.Equal(mac, host.mac):
		f.add("%s: %s has MAC %s instead of %s", where, gateway4, mac, host.mac)
	}
	return errors.Join(f...)
}
