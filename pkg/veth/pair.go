package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"golang.org/x/sys/unix"
)

// MinMTU6 is the smallest MTU that IPv6 works on (RFC 8200, section 5).
const MinMTU6 = 1280

// Pair is the desired state of a link: its two ends, addresses and routes.
type Pair struct {
	NetNS     string // path of the container's network namespace
	Interface string // name of the container's end, such as "eth0"
	HostName  string // name of the host's end, see masq.Key
	// Identity is the alias of the host's end, which proves that the link is this
	// attachment's. At most 255 bytes.
	Identity string
	// CheckSources puts the host's end into [masq.CheckedGroup]: the rules drop packets that
	// enter by a link of this group with a source that is not the attachment's.
	CheckSources bool
	MTU          int // in bytes, of both ends
	Addresses    []netip.Prefix
	// MTUProbing lets TCP in the container find the segment size that a path can carry.
	MTUProbing bool
	// Routes of the container. A family without routes gets a default route.
	Routes []masq.Route

	// HostMAC is the MAC that Add gave the host's end; nil if it is not known. Add ignores
	// it and draws one.
	HostMAC net.HardwareAddr
	// Partial says that Routes and the prefix lengths of Addresses are not known. They are
	// not compared then, and Add returns an error.
	Partial bool
}

// PairOf returns the pair of an attachment, from the link in its record.
func PairOf(a masq.Attachment, l masq.Link) Pair {
	p := Pair{
		NetNS: l.NetNS, Interface: a.Interface, HostName: a.HostName(), Identity: a.Identity(),
		CheckSources: a.SpoofCheck, MTU: l.MTU, Addresses: l.Prefixes, Routes: l.Routes, MTUProbing: l.MTUProbing,
	}
	p.HostMAC, _ = net.ParseMAC(l.HostMAC) // nil if it is empty
	if len(p.Addresses) == 0 {
		p.Partial = true
		for _, addr := range a.Addresses {
			p.Addresses = append(p.Addresses, hostPrefix(addr))
		}
	}
	return p
}

// hostLink returns the host's end of the pair. Its index is not known.
func (p Pair) hostLink() masq.HostLink {
	return masq.HostLink{Name: p.HostName, Alias: p.Identity, Group: p.group()}
}

// group returns the group of the host's end.
func (p Pair) group() uint32 {
	if p.CheckSources {
		return masq.CheckedGroup
	}
	return masq.UncheckedGroup
}

// has reports whether the pair has an address of the family.
func (p Pair) has(f masq.Family) bool {
	return slices.ContainsFunc(p.Addresses, func(a netip.Prefix) bool { return masq.FamilyOf(a.Addr()) == f })
}

// families returns the families of the pair's addresses.
func (p Pair) families() []masq.Family {
	return slices.DeleteFunc(slices.Clone(masq.Families[:]), func(f masq.Family) bool { return !p.has(f) })
}

// routes returns the container's routes, with the default route of each family that has no
// other.
func (p Pair) routes() []masq.Route {
	var out []masq.Route
	for _, r := range p.Routes {
		r.Dst = r.Dst.Masked()
		out = append(out, r)
	}
	for _, f := range p.families() {
		if !slices.ContainsFunc(p.Routes, func(r masq.Route) bool { return masq.FamilyOf(r.Dst.Addr()) == f }) {
			out = append(out, masq.Route{Dst: DefaultRoute(f)})
		}
	}
	return out
}

// DefaultRoute returns the destination of the default route of a family.
func DefaultRoute(f masq.Family) netip.Prefix {
	if f == masq.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// Validate reports all values that Add cannot use.
func (p Pair) Validate() error {
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if p.NetNS == "" {
		fault("the network namespace is missing")
	}
	for _, name := range []string{p.Interface, p.HostName} {
		if !validName(name) {
			fault("%q cannot be the name of an interface: 1 to %d bytes without slash, colon or space", name, unix.IFNAMSIZ-1)
		}
	}
	// IFALIASZ is 256, with the closing NUL (linux/if.h).
	if p.Identity == "" || len(p.Identity) > 255 || strings.ContainsRune(p.Identity, 0) {
		fault("%q cannot be the alias of %s: 1 to 255 bytes without NUL", p.Identity, p.HostName)
	}
	if p.MTU < 68 || p.MTU > 65535 { // ETH_MIN_MTU, ETH_MAX_MTU
		fault("MTU %d is not within 68-65535", p.MTU)
	}
	if len(p.Addresses) == 0 {
		fault("the addresses are missing")
	}
	if p.Partial {
		fault("the prefix lengths of the addresses are not known")
	}
	for _, a := range p.Addresses {
		switch {
		case !a.IsValid() || a.Addr().Is4In6() || a.Addr().Zone() != "":
			fault("%s is not an address with a prefix length", a)
		case a.Addr().Is6() && p.MTU < MinMTU6:
			fault("MTU %d is below %d, the least that IPv6 address %s needs", p.MTU, MinMTU6, a)
		}
	}
	for _, r := range p.Routes {
		switch {
		case !r.Dst.IsValid() || r.Dst.Addr().Is4In6():
			fault("route to %s: not a prefix", r.Dst)
		case !p.has(masq.FamilyOf(r.Dst.Addr())):
			fault("route to %s: there is no IPv%s address to reach it from", r.Dst, masq.FamilyOf(r.Dst.Addr()))
		case r.GW.IsValid() && masq.FamilyOf(r.GW) != masq.FamilyOf(r.Dst.Addr()):
			fault("route to %s: gateway %s is of the other family", r.Dst, r.GW)
		default:
			if err := r.Validate(p.MTU); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// validName reports whether the kernel accepts a name of an interface (dev_valid_name of
// net/core/dev.c).
func validName(s string) bool {
	return s != "" && len(s) < unix.IFNAMSIZ && s != "." && s != ".." &&
		!strings.ContainsAny(s, "/: \t\n\v\f\r\x00")
}
