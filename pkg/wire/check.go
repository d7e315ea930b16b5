package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// Check returns everything that is not as Add made it, joined, or nil. Fields
// of the link that are zero are not compared, for the sake of a caller that
// does not know them.
func (w *Wire) Check(p Pair, l Link) error {
	if err := p.Validate(); err != nil {
		return err
	}
	host, hostErr := w.host.find(p.HostName)
	var errs []error
	switch {
	case errors.Is(hostErr, errNoDevice):
		errs = append(errs, fmt.Errorf("interface %s of the node is missing", p.HostName))
	case hostErr != nil:
		errs = append(errs, hostErr)
	default:
		errs = append(errs, w.checkHost(host, p, l))
	}
	errs = append(errs, w.checkForwarding(host, p), checkContainer(host, p, l))
	return errors.Join(errs...)
}

// faults collects what is not as it should be.
type faults []error

func (f *faults) add(format string, a ...any) { *f = append(*f, fmt.Errorf(format, a...)) }

func (w *Wire) checkHost(d device, p Pair, l Link) error {
	var f faults
	if err := d.belongsTo(p.HostName, p.Identity); err != nil {
		f = append(f, err)
	}
	if !d.up() {
		f.add("interface %s is down", d.name)
	}
	if l.HostIndex != 0 && d.index != l.HostIndex {
		f.add("interface %s has index %d instead of %d", d.name, d.index, l.HostIndex)
	}
	if l.HostMAC != nil && !bytes.Equal(d.mac, l.HostMAC) {
		f.add("interface %s has MAC %s instead of %s", d.name, d.mac, l.HostMAC)
	}
	if d.mtu != p.MTU {
		f.add("interface %s has MTU %d instead of %d", d.name, d.mtu, p.MTU)
	}
	if d.group != p.group() {
		f.add("interface %s is in group %d instead of %d", d.name, d.group, p.group())
	}
	for _, a := range p.Addresses {
		way, found, err := w.host.pathTo(a.Addr(), 0)
		switch {
		case err != nil:
			f = append(f, err)
		case !found || way.index != d.index:
			f.add("the node has no route to %s through interface %s", a.Addr(), d.name)
		}
	}
	if p.has(masq.IPv6) {
		own := l.gateway(masq.IPv6, d)
		way, found, err := w.host.pathTo(own, d.index)
		switch {
		case err != nil:
			f = append(f, err)
		case !found || way.kind != unix.RTN_LOCAL:
			f.add("address %s is missing from interface %s", own, d.name)
		}
	}
	return errors.Join(f...)
}

// gateway is the container's next hop, which follows from the host's end where
// the caller does not know it.
func (l Link) gateway(f masq.Family, host device) netip.Addr {
	switch gw := l.Gateway(f); {
	case gw.IsValid():
		return gw
	case f == masq.IPv4:
		return gateway4
	default:
		return linkLocal(host.mac)
	}
}

func (w *Wire) checkForwarding(host device, p Pair) error {
	families := p.families()
	f6, err := w.forwarding6(families)
	if err != nil {
		return err
	}
	missing, err := w.unforwarded(families, f6)
	if err != nil {
		return err
	}
	if host.index != 0 {
		if p.has(masq.IPv4) && !forwards4(host) {
			missing = append(missing, setting{"ipv4", host.name, "forwarding", 1})
		}
		own, err := hostSettings(host, families, f6)
		if err != nil {
			return err
		}
		missing = append(missing, own...)
	}
	var f faults
	for _, s := range missing {
		f.add("%s is not set", s)
	}
	return errors.Join(f...)
}
