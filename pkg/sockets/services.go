package sockets

import (
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// These sysctls have the ports that the kernel gives to sockets that request no port, and
// the ports that it never gives (Documentation/networking/ip-sysctl.rst). They apply to
// IPv6 too.
const (
	localRange    = "/proc/sys/net/ipv4/ip_local_port_range"
	localReserved = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// Services returns the ports of the node's services, in no order. They are the ports of
// sockets that List returns, unless bound to a loopback address, and the ports of
// net.ipv4.ip_local_reserved_ports.
//
// UDP clients such as resolvers also have sockets that are not connected, with a port that
// the kernel chose. So a UDP port within net.ipv4.ip_local_port_range counts only if it is
// bound to all addresses of both families, as WireGuard and VXLAN do, or if chosen
// contains it. chosen has the source ports to which policies translate (toPorts).
func Services(chosen []masq.PortRange) ([]masq.PortRange, error) {
	all, err := List()
	if err != nil {
		return nil, err
	}
	ephemeral, err := portRanges(localRange)
	if err != nil {
		return nil, err
	}
	reserved, err := portRanges(localReserved)
	if err != nil {
		return nil, err
	}
	return append(reserved, services(all, ephemeral, chosen)...), nil
}

func services(all []Socket, ephemeral, chosen []masq.PortRange) []masq.PortRange {
	everywhere := map[Socket]bool{}
	for _, s := range all {
		if s.Addr().IsUnspecified() {
			everywhere[s] = true
		}
	}
	both := func(port uint16) bool {
		return everywhere[Socket{unix.IPPROTO_UDP, netip.AddrPortFrom(netip.IPv4Unspecified(), port)}] &&
			everywhere[Socket{unix.IPPROTO_UDP, netip.AddrPortFrom(netip.IPv6Unspecified(), port)}]
	}
	var out []masq.PortRange
	for _, s := range all {
		port := s.Port()
		switch {
		case port == 0, s.Addr().IsLoopback():
		case s.Protocol == unix.IPPROTO_UDP && contains(ephemeral, port) && !contains(chosen, port) && !both(port):
		default:
			out = append(out, masq.PortRange{First: port, Last: port})
		}
	}
	return out
}

func contains(all []masq.PortRange, port uint16) bool {
	for _, r := range all {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

// portRanges reads a sysctl of ports: "32768\t60999" or "8080,30000-32767". It returns
// none if the kernel does not have the sysctl.
func portRanges(path string) ([]masq.PortRange, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(b))
	if first, last, ok := strings.Cut(text, "\t"); ok {
		text = first + "-" + strings.TrimSpace(last)
	}
	return parsePorts(text), nil
}

// parsePorts skips invalid entries, and port 0, which the kernel accepts.
func parsePorts(text string) []masq.PortRange {
	var out []masq.PortRange
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA == nil && errB == nil && b >= max(a, 1) {
			out = append(out, masq.PortRange{First: uint16(max(a, 1)), Last: uint16(b)})
		}
	}
	return out
}
