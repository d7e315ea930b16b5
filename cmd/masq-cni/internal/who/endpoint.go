package who

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// endpoint is the end of a flow that a server sees, and the server itself. For ICMP, port is
// the ID.
type endpoint struct {
	addr   netip.Addr
	port   uint16
	proto  uint8      // 0 for any
	to     netip.Addr // address of the server; not valid for any
	toPort uint16     // port of the server; 0 for any
}

// withPorts are the protocols with ports, or in the case of GRE with keys in their place.
var withPorts = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_GRE}

// parseEndpoint parses ADDRESS:PORT[/PROTOCOL] and the ADDRESS[:PORT] of --to, and reports
// every fault.
func parseEndpoint(text, to string) (endpoint, error) {
	var (
		q    endpoint
		errs []error
	)
	place, proto, named := strings.Cut(text, "/")
	if named {
		var ok bool
		if q.proto, ok = report.ParseProtocol(strings.ToLower(proto)); !ok {
			errs = append(errs, fmt.Errorf("%s in %s is not a protocol; give one of %s, or a number from 1 to 255",
				masq.Quote(proto), masq.Quote(text), strings.Join(report.Protocols(), ", ")))
		}
	}
	p, err := netip.ParseAddrPort(place)
	if a, ok := parseAddr(place); err != nil && ok {
		errs = append(errs, fmt.Errorf("%s has no port; give it as %s, or list all flows of the address: masq-cni inspect flows --src %s",
			masq.Quote(text), netip.AddrPortFrom(a, 4711), a))
	} else if err != nil {
		errs = append(errs, fmt.Errorf("%s is not ADDRESS:PORT[/PROTOCOL]; give it as 192.0.2.2:4711, 192.0.2.2:4711/tcp or [2001:db8::2]:4711", masq.Quote(text)))
	}
	q.addr, q.port = node.PlainAddr(p.Addr()), p.Port()
	if q.proto == unix.IPPROTO_ICMP && q.addr.Is6() {
		q.proto = unix.IPPROTO_ICMPV6
	}
	if to != "" {
		errs = append(errs, q.parseTo(to))
	}
	return q, errors.Join(errs...)
}

func (q *endpoint) parseTo(text string) error {
	p, err := netip.ParseAddrPort(text)
	ok := err == nil && p.Port() != 0
	if err != nil {
		var a netip.Addr
		a, ok = parseAddr(text)
		p = netip.AddrPortFrom(a, 0)
	}
	if !ok {
		return fmt.Errorf("--to %s is not ADDRESS[:PORT]; give it as 198.51.100.2, 198.51.100.2:443 or [2001:db8::2]:443", masq.Quote(text))
	}
	q.toPort = p.Port()
	q.to = node.PlainAddr(p.Addr())
	if q.addr.IsValid() && q.to.Is4() != q.addr.Is4() {
		return fmt.Errorf("--to %s and %s are of different families; give two IPv4 or two IPv6 addresses", masq.Quote(text), q.addr)
	}
	if q.toPort != 0 && q.proto != 0 && !slices.Contains(withPorts, q.proto) {
		return fmt.Errorf("--to %s has a port, but %s has no ports; give only the address", masq.Quote(text), report.Protocol(q.proto))
	}
	return nil
}

// parseAddr parses an address without a port, with or without brackets.
func parseAddr(text string) (netip.Addr, bool) {
	if inside, closed := strings.CutSuffix(text, "]"); closed {
		text = strings.TrimPrefix(inside, "[")
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil
}

// match reports whether packets with this tuple go from the server to the endpoint.
func (q endpoint) match(t *conntrack.Tuple) bool {
	return t.Dst == q.addr && max(t.DstPort, t.ID) == q.port && // a packet has a port or an ICMP ID
		(q.proto == 0 || t.Proto == q.proto) &&
		(!q.to.IsValid() || t.Src == q.to) && (q.toPort == 0 || t.SrcPort == q.toPort)
}

// tuple returns the known part of the tuple of packets from the server to the endpoint.
func (q endpoint) tuple() conntrack.Tuple {
	t := conntrack.Tuple{Proto: q.proto, Src: q.to, Dst: q.addr, SrcPort: q.toPort}
	if slices.Contains(withPorts, q.proto) {
		t.DstPort = q.port
	}
	return t
}

// tuples returns all tuples that packets from the server to the endpoint can have, so that
// the flows can be looked up. It returns nil if there are too many; a dump finds the flows
// then.
func (q endpoint) tuples() []conntrack.Tuple {
	t := q.tuple()
	switch {
	case !q.to.IsValid():
		return nil
	case q.proto == unix.IPPROTO_ICMP:
		return withTypes(t, q.port, icmpQueries)
	case q.proto == unix.IPPROTO_ICMPV6:
		return withTypes(t, q.port, icmpv6Queries)
	case q.toPort == 0:
		return nil
	case q.proto != 0:
		return []conntrack.Tuple{t}
	}
	var all []conntrack.Tuple
	for _, t.Proto = range withPorts {
		t.DstPort = q.port
		all = append(all, t)
	}
	return all
}

// icmpQueries and icmpv6Queries are the ICMP types that begin flows, and the types of their
// answers: echo, timestamp, information, address mask; echo and node information (invmap in
// nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c). Their code is 0.
var (
	icmpQueries   = []uint8{0, 8, 14, 13, 16, 15, 18, 17}
	icmpv6Queries = []uint8{129, 128, 140, 139}
)

func withTypes(t conntrack.Tuple, id uint16, types []uint8) []conntrack.Tuple {
	var all []conntrack.Tuple
	for _, t.Type = range types {
		t.ID = id
		all = append(all, t)
	}
	return all
}

// isSource reports whether the endpoint is the translated source of a flow. Otherwise it is
// the destination.
func (q endpoint) isSource(f *report.Flow) bool {
	t := f.Translated
	return t.Source == q.addr && max(t.SourcePort, t.ICMP.ID) == q.port
}

// String returns ADDRESS:PORT.
func (q endpoint) String() string { return netip.AddrPortFrom(q.addr, q.port).String() }
