package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/wire"
)

// probes are addresses that nobody has a route to but the default route: the
// anycast addresses of the Port Control Protocol (RFC 7723).
var probes = [...]netip.Addr{netip.MustParseAddr("192.0.0.9"), netip.MustParseAddr("2001:1::1")}

// uplinks are those of the default routes, with the address that the node itself
// would leave with. Nothing is sent.
func uplinks() ([]report.Uplink, error) {
	out := []report.Uplink{}
	var addrs []netip.Addr
	for _, to := range probes {
		a, err := sourceFor(to)
		switch {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EAFNOSUPPORT),
			errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
			continue // no default route, or one that forbids
		case err != nil:
			return nil, fmt.Errorf("look up the uplinks: %w", err)
		}
		out, addrs = append(out, report.Uplink{Address: a}), append(addrs, a)
	}
	if len(out) == 0 {
		return out, nil
	}
	names, err := holders(addrs...)
	for i, a := range addrs {
		out[i].Interface = names[a]
	}
	return out, err
}

// sourceFor is the address that the kernel chooses on the way to another.
func sourceFor(to netip.Addr) (netip.Addr, error) {
	family, remote := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: 9, Addr: to.As16()})
	if to.Is4() {
		family, remote = unix.AF_INET, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Connect(fd, remote); err != nil {
		return netip.Addr{}, err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, os.NewSyscallError("getsockname", err)
	}
	switch a := local.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr), nil
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr), nil
	}
	return netip.Addr{}, fmt.Errorf("the socket's address is %T", local)
}

// holders names the interfaces that have these addresses.
func holders(addrs ...netip.Addr) (map[netip.Addr]string, error) {
	w, err := wire.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	return w.Holders(addrs...)
}
