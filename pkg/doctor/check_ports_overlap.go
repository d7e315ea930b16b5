package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/sockets"
)

// portsOverlap checks policies with toPorts. Without toPorts there are so many source ports
// that reserved ones do not matter. Flows never leave with a reserved port.
var portsOverlap = Check{
	ID:       "ports-overlap",
	Title:    "Ports of the node leave few source ports, or none, of `toPorts`",
	Severity: report.SeverityError,
	Reads:    "set `reserved` of table `inet masq`, `toPorts`, the node's sockets, published ports and NodePorts, `ip_local_reserved_ports`",
	Applies:  "a policy has `toPorts`",
	Remedy:   "Choose `toPorts` outside of the ports of the node.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		ranged, err := n.policiesWithPorts()
		if err != nil || len(ranged) == 0 {
			return nil, err
		}
		reserved, err := queryRules((*nft.Conn).ReservedPorts)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, p := range ranged {
			total, free := portsIn(p.toPorts), portsIn(ruleset.FreePorts(p.toPorts, reserved))
			if 2*free > total {
				continue
			}
			f := Finding{
				Severity: report.SeverityWarning,
				Object:   "toPorts " + rangesText(p.toPorts),
				Message:  fmt.Sprintf("of %s has %d of %d ports left: the others are reserved for the node", n.usersOf(p.attachments), free, total),
				Why:      "Flows never leave with a port on which a service of the node receives: the containers can have fewer connections to one destination than toPorts says.",
			}
			if free == 0 {
				f.Severity = report.SeverityError
				f.Message = fmt.Sprintf("of %s has no port left: all are reserved for the node", n.usersOf(p.attachments))
				f.Why = "Flows never leave with a port on which a service of the node receives: new connections of the containers are dropped."
			}
			f.Evidence, err = n.reservations(p.toPorts, reserved)
			if err != nil {
				return nil, err
			}
			f.Remedy.Text = "give toPorts other ports, outside of NodePorts, published ports and ports on which the node listens: in the network configuration, and recreate the containers; in the node's configuration masqd applies it at once"
			out = append(out, f)
		}
		return out, nil
	},
}

// portPolicy is a value of toPorts, and the attachments with it.
type portPolicy struct {
	toPorts     []masq.PortRange
	attachments []int // indices of AllRecords; empty for sourceCIDRs
}

// policiesWithPorts returns the values of toPorts in use, in the order of attachments.
func (n *Node) policiesWithPorts() (out []*portPolicy, err error) {
	all, err := n.activePolicies()
	if err != nil {
		return nil, err
	}
	known := map[string]*portPolicy{}
	all.all(func(i int, p *masq.Policy) {
		if len(p.ToPorts) == 0 || p.EgressDirect || i >= 0 && !n.examines(i) {
			return
		}
		key := rangesText(p.ToPorts)
		x := known[key]
		if x == nil {
			x = &portPolicy{toPorts: p.ToPorts}
			known[key] = x
			out = append(out, x)
		}
		if i >= 0 {
			x.attachments = append(x.attachments, i)
		}
	})
	return out, nil
}

// usersOf names the users of a policy in a sentence.
func (n *Node) usersOf(attachments []int) string {
	if len(attachments) == 0 {
		return "sourceCIDRs"
	}
	return n.containers(attachments)
}

// reservations returns which ports of toPorts are reserved, and for what.
func (n *Node) reservations(toPorts, reserved []masq.PortRange) ([]Evidence, error) {
	published, err := queryRules((*nft.Conn).Published)
	if err != nil {
		return nil, err
	}
	setting, err := n.sysctl("net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return nil, err
	}
	listening, err := sockets.List()
	if err != nil {
		return nil, err
	}
	var ports []masq.PortRange
	for _, s := range listening {
		if s.Port() != 0 && !s.Addr().IsLoopback() {
			ports = append(ports, masq.PortRange{First: s.Port(), Last: s.Port()})
		}
	}
	out := []Evidence{{"table inet masq, set reserved, within toPorts", rangesText(common(reserved, toPorts))}}
	if setting != "" {
		out = append(out, Evidence{"net.ipv4.ip_local_reserved_ports", setting})
	}
	if x := common(published, toPorts); len(x) > 0 {
		out = append(out, Evidence{"published ports and NodePorts of other tables, within toPorts", rangesText(x)})
	}
	if x := common(ports, toPorts); len(x) > 0 {
		out = append(out, Evidence{"sockets of the node, within toPorts", rangesText(x)})
	}
	return out, nil
}

// common returns the ports that both lists have.
func common(a, b []masq.PortRange) (out []masq.PortRange) {
	for _, x := range ruleset.MergePorts(a) {
		for _, y := range ruleset.MergePorts(b) {
			if first, last := max(x.First, y.First), min(x.Last, y.Last); first <= last {
				out = append(out, masq.PortRange{First: first, Last: last})
			}
		}
	}
	slices.SortFunc(out, func(a, b masq.PortRange) int { return int(a.First) - int(b.First) })
	return out
}

func portsIn(all []masq.PortRange) (sum int) {
	for _, r := range all {
		sum += r.Size()
	}
	return sum
}

// maxRangesShown bounds the text of a list of ports.
const maxRangesShown = 16

// rangesText returns a list of ports as in a configuration: "20000-29999,40000". It
// cuts off the end of a long list.
func rangesText(all []masq.PortRange) string {
	var b strings.Builder
	for i, r := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		if i == maxRangesShown {
			fmt.Fprintf(&b, " and %d more", len(all)-i)
			break
		}
		if r.First == r.Last {
			fmt.Fprint(&b, r.First)
		} else {
			fmt.Fprint(&b, r)
		}
	}
	return b.String()
}
