package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var helperPort = Check{
	ID:       "helper-port",
	Title:    "Containers use FTP, RTSP or talk on a port without the helper",
	Severity: report.SeverityWarning,
	Reads:    "established flows to TCP ports 21, 2121 and 554 and to UDP port 518 in the conntrack table, `helpers` of policies",
	Applies:  "the flows are translated and have no helper",
	Remedy:   "Add the port to the helper.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		uses, err := n.helperUses(ctx, false)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, u := range uses {
			name := usualPorts[u.helperPortKey]
			policy := u.policies[0]
			ports := slices.Concat(portsOfHelper(policy, name), []uint16{u.port})
			slices.Sort(ports)
			helpers := fmt.Sprintf(`"helpers": {%q: [%s]}`, name, joinPorts(ports))
			where := "in the configuration of the network, and recreate the containers"
			if policy.Node {
				where = "in the node's configuration, which masqd applies at once, and let the clients connect again"
			}
			configured := "without " + name
			if p := portsOfHelper(policy, name); len(p) > 0 {
				configured = name + " " + joinPorts(p)
			}
			out = append(out, Finding{
				Severity: report.SeverityWarning,
				Object:   fmt.Sprintf("%s port %d", strings.ToUpper(protocolNames[u.protocol]), u.port),
				Message:  fmt.Sprintf("is usual for %s, and has %s of %s without a helper", strings.ToUpper(name), report.Plural(u.flows, "connection"), n.containers(u.attachments)),
				Evidence: []Evidence{
					{"conntrack", u.example + ", no helper"},
					{"helpers of the policy", configured},
				},
				Why:    withoutHelper[name],
				Remedy: Remedy{Text: "set " + helpers + " " + where},
			})
		}
		return out, nil
	},
}

var helperUnassigned = Check{
	ID:       "helper-unassigned",
	Title:    "Connections that need a helper do not have it",
	Severity: report.SeverityWarning,
	Reads:    "flows to the ports of helpers in the conntrack table, `helpers` of policies",
	Applies:  "a policy has helpers",
	Remedy:   "End the connections, so that the clients connect again.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		uses, err := n.helperUses(ctx, true)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, u := range uses {
			missed := "rules were missing"
			if kind, _ := masq.HelperKindOf(u.helper); kind.Daemon {
				missed = "masqd did not serve it"
			}
			f := Finding{
				Severity: report.SeverityWarning,
				Object:   fmt.Sprintf("helper %s", u.helper),
				Message: fmt.Sprintf("is assigned to none of %s of %s to %s port %d",
					report.Plural(u.flows, "connection"), n.containers(u.attachments), protocolNames[u.protocol], u.port),
				Evidence: []Evidence{
					{"conntrack", u.example + ", no helper"},
					{"helpers of the policy", u.helper + " " + joinPorts(portsOfHelper(u.policies[0], u.helper))},
				},
				Why:    "A helper is assigned with the first packet of a connection: these began before the helper was configured, or while " + missed + ", and addresses in their payload are not translated.",
				Remedy: Remedy{Text: "end the connections: the clients connect again, with the helper"},
			}
			for _, a := range u.sources {
				family := "ipv4"
				if a.Is6() {
					family = "ipv6"
				}
				f.Remedy.Commands = append(f.Remedy.Commands, fmt.Sprintf("conntrack -D -f %s -p %s --orig-src %s --orig-port-dst %d", family, protocolNames[u.protocol], a, u.port))
			}
			out = append(out, f)
		}
		return out, nil
	},
}

// portUse are the control connections of several attachments to a port.
type portUse struct {
	helperPortKey
	helper      string // "" if the policies have none
	attachments []int
	policies    []*masq.Policy // a policy for each attachment
	sources     []netip.Addr   // a source for each attachment
	flows       int
	example     string
}

// helperUses returns the ports to which connections of an attachment have no helper.
// configured selects the ports for which the policy has one, and of these the attachments that
// have no connection with it.
func (n *Node) helperUses(ctx context.Context, configured bool) ([]*portUse, error) {
	facts, err := n.flowFacts(ctx)
	if err != nil {
		return nil, err
	}
	x := &facts.Helpers
	if x.err != nil {
		return nil, x.err
	}
	var uses []helperUse
	for u, c := range x.ByPort {
		if c.Assigned == 0 && n.examines(u.attachment) {
			uses = append(uses, u)
		}
	}
	slices.SortFunc(uses, func(a, b helperUse) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.attachment, b.attachment))
	})
	type group struct {
		helperPortKey
		helper string
	}
	known := map[group]*portUse{}
	var out []*portUse
	for _, u := range uses {
		c, p := x.ByPort[u], x.policies[u.attachment]
		helper := configuredHelper(p, u.helperPortKey, masq.FamilyOf(c.Example.Original.Src))
		if (helper != "") != configured {
			continue
		}
		k := group{u.helperPortKey, helper}
		to := known[k]
		if to == nil {
			to = &portUse{helperPortKey: u.helperPortKey, helper: helper, example: fmt.Sprintf("%s %s", c.Example.Original, c.Example.StateName())}
			known[k] = to
			out = append(out, to)
		}
		to.attachments, to.policies = append(to.attachments, u.attachment), append(to.policies, p)
		to.sources = append(to.sources, c.Example.Original.Src)
		to.flows += c.Flows
	}
	return out, nil
}

// portsOfHelper returns the ports that a policy has for a helper.
func portsOfHelper(p *masq.Policy, helper string) (out []uint16) {
	for _, h := range p.Helpers {
		if h.Name == helper {
			out = append(out, h.Ports...)
		}
	}
	return out
}

func joinPorts(all []uint16) string {
	var out []string
	for _, p := range all {
		out = append(out, fmt.Sprint(p))
	}
	return strings.Join(out, ", ")
}
