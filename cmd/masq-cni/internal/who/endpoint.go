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

// endpoint is what a far end has to say of a flow: whom it talks to, and who it is
// itself. Ports of ICMP are IDs.
type endpoint struct {
	addr  netip.Addr
	port  uint16
	proto uint8      // 0: any
	to    netip.Addr // not valid: anybody
	// toPort is 0 for any.
	toPort uint16
}

// ported are the protocols that have ports, or as GRE keys, in the place of them.
var ported = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_GRE}

// parseEndpoint understands ADDRESS:PORT[/PROTOCOL] and ADDRESS[:PORT], and reports
// all that it cannot.
func parseEndpoint(text, to string) (endpoint, error) {
	var (
		q    endpoint
		errs []error
	)
	place, proto, named := strings.Cut(text, "/")
	if named {
		var ok bool
		if q.proto, ok = report.ParseProtocol(strings.ToLower(proto)); !ok {
			errs = append(errs, fmt.Errorf("%s in %s is no protocol; give one of %s, or a number from 1 to 255",
				masq.Quote(proto), masq.Quote(text), strings.Join(report.Protocols(), ", ")))
		}
	}
	p, err := netip.ParseAddrPort(place)
	if a, ok := alone(place); err != nil && ok {
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
		a, ok = alone(text)
		p = netip.AddrPortFrom(a, 0)
	}
	if !ok {
		return fmt.Errorf("--to %s is not ADDRESS[:PORT]; give it as 198.51.100.2, 198.51.100.2:443 or [2001:db8::2]:443", masq.Quote(text))
	}
	q.toPort = p.Port()
	q.to = node.PlainAddr(p.Addr())
	if q.addr.IsValid() && q.to.Is4() != q.addr.Is4() {
		return fmt.Errorf("--to %s is of another family than %s; give an address of the same", masq.Quote(text), q.addr)
	}
	if q.toPort != 0 && q.proto != 0 && !slices.Contains(ported, q.proto) {
		return fmt.Errorf("--to %s has a port, and %s has none; give the address alone", masq.Quote(text), report.Protocol(q.proto))
	}
	return nil
}

// alone reads an address without a port, in brackets or not.
func alone(text string) (netip.Addr, bool) {
	if inside, closed := strings.CutSuffix(text, "]"); closed {
		text = strings.TrimPrefix(inside, "[")
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil
}

// match reports whether packets with this tuple go from the far end to the endpoint.
func (q endpoint) match(t *conntrack.Tuple) bool {
	return t.Dst == q.addr && max(t.DstPort, t.ID) == q.port && // no protocol has both
		(q.proto == 0 || t.Proto == q.proto) &&
		(!q.to.IsValid() || t.Src == q.to) && (q.toPort == 0 || t.SrcPort == q.toPort)
}

// tuple is what is known of the tuples of such packets.
func (q endpoint) tuple() conntrack.Tuple {
	t := conntrack.Tuple{Proto: q.proto, Src: q.to, Dst: q.addr, SrcPort: q.toPort}
	if slices.Contains(ported, q.proto) {
		t.DstPort = q.port
	}
	return t
}

// tuples are all that such packets can have, where these are few: nil where only a
// dump finds them.
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
	for _, t.Proto = range ported {
		t.DstPort = q.port
		all = append(all, t)
	}
	return all
}

// The types of ICMP that begin flows, and their answers': echo, timestamp,
// information, address mask; echo and node information (invmap in
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

// began reports whether the endpoint is where a flow seems to come from; otherwise it
// is where it went.
func (q endpoint) began(f *report.Flow) bool {
	t := f.Translated
	return t.Source == q.addr && max(t.SourcePort, t.ICMP.ID) == q.port
}

// String is what is asked, within a sentence.
func (q endpoint) String() string { return netip.AddrPortFrom(q.addr, q.port).String() }
