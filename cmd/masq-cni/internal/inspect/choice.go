package inspect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// choice is which flows are shown, as it is typed and as it is understood.
type choice struct {
	pod, proto, state, nat string
	src, dst, sport, dport string
	by                     string
	limit                  int
	number                 uint8
	source, destination    netip.Prefix
	sourcePort, destPort   masq.PortRange
	status, mask           conntrack.Status
	top                    *report.Top[report.Flow]
}

// kept is how many flows --sort keeps in memory where --limit does not say.
const kept = 1000

var nats = []string{"snat", "dnat", "none"}

func (x *choice) flags(c *cobra.Command, n *node.Node) {
	f := c.Flags()
	f.StringVar(&x.pod, "pod", "", "flows that a pod or container began or that reached it: `[NAMESPACE/]NAME|CONTAINERID`")
	f.StringVar(&x.proto, "proto", "", "protocol: `tcp|udp|icmp|...` or a number")
	f.StringVar(&x.src, "src", "", "source, before or after translation: an `ADDRESS|PREFIX`")
	f.StringVar(&x.sport, "sport", "", "source port, before or after translation: a `PORT` or a range")
	f.StringVar(&x.dst, "dst", "", "destination, before or after translation: an `ADDRESS|PREFIX`")
	f.StringVar(&x.dport, "dport", "", "destination port, before or after translation: a `PORT` or a range")
	f.StringVar(&x.state, "state", "", "`STATE` in a word, as STATE shows it: established")
	f.StringVar(&x.nat, "nat", "", "what is translated: `snat|dnat|none`")
	f.IntVar(&x.limit, "limit", 0, "the most flows to show, `N` (default: all, with --sort 1000)")
	f.StringVar(&x.by, "sort", "", "sort by a `COLUMN`, one of -o wide too: bytes, age, source; with --limit, the first of that order")
	for name, words := range map[string][]string{"proto": report.Protocols(), "state": report.StateNames(), "nat": nats, "sort": report.SortNames()} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	}
	_ = c.RegisterFlagCompletionFunc("pod", n.CompletePods)
}

// parse understands the flags, and reports all that it cannot.
func (x *choice) parse() error {
	var errs []error
	bad := func(flag, value, mend string) {
		errs = append(errs, fmt.Errorf("--%s %s is not known; give %s", flag, masq.Quote(value), mend))
	}
	if x.proto != "" {
		var ok bool
		if x.number, ok = report.ParseProtocol(strings.ToLower(x.proto)); !ok {
			bad("proto", x.proto, "one of "+strings.Join(report.Protocols(), ", ")+", or a number from 1 to 255")
		}
	}
	x.state = strings.ToLower(x.state)
	if x.state != "" && !slices.Contains(report.StateNames(), x.state) {
		bad("state", x.state, "one of "+strings.Join(report.StateNames(), ", "))
	}
	switch x.nat {
	case "":
	case "snat":
		x.status, x.mask = conntrack.SrcNAT, conntrack.SrcNAT
	case "dnat":
		x.status, x.mask = conntrack.DstNAT, conntrack.DstNAT
	case "none":
		x.mask = conntrack.SrcNAT | conntrack.DstNAT
	default:
		bad("nat", x.nat, "one of "+strings.Join(nats, ", "))
	}
	for _, p := range []struct {
		flag, text string
		to         *netip.Prefix
	}{{"src", x.src, &x.source}, {"dst", x.dst, &x.destination}} {
		if p.text == "" {
			continue
		}
		var err error
		if *p.to, err = prefixOf(p.text); err != nil {
			bad(p.flag, p.text, "an address such as 192.0.2.1, or a prefix such as 192.0.2.0/24")
		}
	}
	for _, p := range []struct {
		flag, text string
		to         *masq.PortRange
	}{{"sport", x.sport, &x.sourcePort}, {"dport", x.dport, &x.destPort}} {
		if p.text == "" {
			continue
		}
		var err error
		if *p.to, err = masq.ParsePortRange(p.text); err != nil {
			bad(p.flag, p.text, "a port from 1 to 65535, or FIRST-LAST")
		}
	}
	if x.limit < 0 {
		errs = append(errs, fmt.Errorf("--limit %d is below 0; give a number of flows, or leave the flag out", x.limit))
	}
	if x.by != "" && x.limit >= 0 {
		most := x.limit
		if most == 0 {
			most = kept
		}
		var ok bool
		if x.top, ok = report.NewTopFlows(x.by, most); !ok {
			bad("sort", x.by, "one of "+strings.Join(report.SortNames(), ", "))
		}
	}
	return errors.Join(errs...)
}

// prefixOf reads an address as the prefix of it alone.
func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = node.PlainAddr(a)
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// queries leave to the kernel what it can choose.
func (x *choice) queries(v node.Snapshot) ([]node.Query, error) {
	base := conntrack.Filter{Status: x.status, StatusMask: x.mask}
	base.Original.Proto = x.number
	for _, p := range []netip.Prefix{x.source, x.destination} {
		if p.IsValid() {
			base.Family = masq.FamilyOf(p.Addr())
		}
	}
	if x.pod == "" {
		return []node.Query{{Filter: base}}, nil
	}
	found, err := v.Find(x.pod)
	if err != nil {
		return nil, err
	}
	return queries(v, found, base), nil
}

// match reports whether a flow that the queries chose fits the rest.
func (x *choice) match(f *conntrack.Flow) bool {
	o, r := &f.Original, &f.Reply
	return (x.state == "" || report.State(f) == x.state) &&
		(fits(x.source, x.sourcePort, o.Src, o.SrcPort, o.ID) || fits(x.source, x.sourcePort, r.Dst, r.DstPort, r.ID)) &&
		(fits(x.destination, x.destPort, o.Dst, o.DstPort, 0) || fits(x.destination, x.destPort, r.Src, r.SrcPort, 0))
}

// fits reports whether one end of a flow is as asked for: address and port together,
// before translation or after it. What was not asked for is zero.
func fits(p netip.Prefix, r masq.PortRange, addr netip.Addr, port, id uint16) bool {
	port = max(port, id) // no protocol has both
	return (!p.IsValid() || p.Contains(addr)) && (r.Last == 0 || r.First <= port && port <= r.Last)
}
