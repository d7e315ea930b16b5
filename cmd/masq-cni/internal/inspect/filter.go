package inspect

import (
	"cmp"
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

// flowFilter selects and sorts flows. It has the text of the flags, and their parsed values.
type flowFilter struct {
	pod, proto, state, nat string
	src, dst, sport, dport string
	by                     string
	limit                  int

	number               uint8 // protocol number
	source, destination  netip.Prefix
	sourcePort, destPort masq.PortRange
	status, statusMask   conntrack.Status
	top                  *report.Top[report.Flow] // nil without --sort
}

// defaultSortLimit is the number of flows that --sort keeps in memory without --limit.
const defaultSortLimit = 1000

// natValues are the values of --nat.
var natValues = []string{"snat", "dnat", "none"}

func (x *flowFilter) register(c *cobra.Command, n *node.Node) {
	f := c.Flags()
	f.StringVar(&x.pod, "pod", "", "flows from and to a pod or container: `[NAMESPACE/]NAME|CONTAINERID`")
	f.StringVar(&x.proto, "proto", "", "protocol: `tcp|udp|icmp|...` or a number")
	f.StringVar(&x.src, "src", "", "source, before or after translation: an `ADDRESS|PREFIX`")
	f.StringVar(&x.sport, "sport", "", "source port, before or after translation: a `PORT` or a range")
	f.StringVar(&x.dst, "dst", "", "destination, before or after translation: an `ADDRESS|PREFIX`")
	f.StringVar(&x.dport, "dport", "", "destination port, before or after translation: a `PORT` or a range")
	f.StringVar(&x.state, "state", "", "flows in this `STATE`, as the column STATE of -o wide shows it, such as established")
	f.StringVar(&x.nat, "nat", "", "flows with translated source, with translated destination, or without translation: `snat|dnat|none`")
	f.IntVar(&x.limit, "limit", 0, "show at most `N` flows (default: all, or 1000 with --sort)")
	f.StringVar(&x.by, "sort", "", "sort by this `COLUMN`, such as bytes, age or source; columns of -o wide are allowed too")
	for name, words := range map[string][]string{"proto": report.Protocols(), "state": report.StateNames(), "nat": natValues, "sort": report.SortNames()} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	}
	_ = c.RegisterFlagCompletionFunc("pod", n.CompletePods)
}

// parse reads the flags, and reports every invalid value.
func (x *flowFilter) parse() error {
	var errs []error
	invalid := func(flag, value, remedy string) {
		errs = append(errs, fmt.Errorf("--%s %s is not known; give %s", flag, masq.Quote(value), remedy))
	}
	if x.proto != "" {
		var ok bool
		if x.number, ok = report.ParseProtocol(strings.ToLower(x.proto)); !ok {
			invalid("proto", x.proto, "one of "+strings.Join(report.Protocols(), ", ")+", or a number from 1 to 255")
		}
	}
	x.state = strings.ToLower(x.state)
	if x.state != "" && !slices.Contains(report.StateNames(), x.state) {
		invalid("state", x.state, "one of "+strings.Join(report.StateNames(), ", "))
	}
	switch x.nat {
	case "":
	case "snat":
		x.status, x.statusMask = conntrack.SrcNAT, conntrack.SrcNAT
	case "dnat":
		x.status, x.statusMask = conntrack.DstNAT, conntrack.DstNAT
	case "none":
		x.statusMask = conntrack.SrcNAT | conntrack.DstNAT
	default:
		invalid("nat", x.nat, "one of "+strings.Join(natValues, ", "))
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
			invalid(p.flag, p.text, "an address such as 192.0.2.1, or a prefix such as 192.0.2.0/24")
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
			invalid(p.flag, p.text, "a port from 1 to 65535, or FIRST-LAST")
		}
	}
	if x.limit < 0 {
		errs = append(errs, fmt.Errorf("--limit %d is below 0; give a number of flows, or leave the flag out", x.limit))
	}
	if x.by != "" && x.limit >= 0 {
		var ok bool
		if x.top, ok = report.NewTopFlows(x.by, cmp.Or(x.limit, defaultSortLimit)); !ok {
			invalid("sort", x.by, "one of "+strings.Join(report.SortNames(), ", "))
		}
	}
	return errors.Join(errs...)
}

// prefixOf parses a prefix, or an address as a prefix of its full length.
func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = node.PlainAddr(a)
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// queries returns queries that filter in the kernel where it can. match does the rest.
func (x *flowFilter) queries(s node.Snapshot) ([]node.Query, error) {
	base := conntrack.Filter{Status: x.status, StatusMask: x.statusMask}
	base.Original.Proto = x.number
	for _, p := range []netip.Prefix{x.source, x.destination} {
		if p.IsValid() {
			base.Family = masq.FamilyOf(p.Addr())
		}
	}
	if x.pod == "" {
		return []node.Query{{Filter: base}}, nil
	}
	found, err := s.Find(x.pod)
	if err != nil {
		return nil, err
	}
	return queriesOf(s, found, base), nil
}

// match reports whether a flow that the queries selected has the state, addresses and ports.
func (x *flowFilter) match(f *conntrack.Flow) bool {
	o, r := &f.Original, &f.Reply
	return (x.state == "" || report.State(f) == x.state) &&
		(endMatches(x.source, x.sourcePort, o.Src, o.SrcPort, o.ID) || endMatches(x.source, x.sourcePort, r.Dst, r.DstPort, r.ID)) &&
		(endMatches(x.destination, x.destPort, o.Dst, o.DstPort, 0) || endMatches(x.destination, x.destPort, r.Src, r.SrcPort, 0))
}

// endMatches reports whether one end of a flow has an address in p and a port in r. Zero
// values of p and r match every flow.
func endMatches(p netip.Prefix, r masq.PortRange, addr netip.Addr, port, id uint16) bool {
	port = max(port, id) // a flow has a port or an ICMP ID
	return (!p.IsValid() || p.Contains(addr)) && (r.Last == 0 || r.First <= port && port <= r.Last)
}
