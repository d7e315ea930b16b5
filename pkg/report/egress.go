package report

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// evaluateEgress reports egress addresses of policies that the node does not have.
func (n *Node) evaluateEgress() {
	for _, p := range n.Policies {
		for _, a := range p.SNATMissing {
			x := NewProblem(
				SeverityWarning, KindEgressMissing, "policy "+p.ID,
				fmt.Sprintf("lists the egress address %s, which the node does not have; flows use the other addresses", a),
				Cause{
					Evidence: []Evidence{{"snatAddresses of policy " + p.ID, p.target()}, {"interfaces of the node", "none has " + a.String()}},
					Remedy:   Remedy{"list it in snatAddressesRouted if it is routed to the node, or add it to an interface", []string{"ip address add " + a.String() + " dev INTERFACE"}},
				},
			)
			f := masq.FamilyOf(a)
			others := slices.ContainsFunc(p.SNATAddressesOf(f), func(o netip.Addr) bool { return !slices.Contains(p.SNATMissing, o) })
			switch {
			case slices.Contains(p.Dropped, f.String()):
				x.Severity = SeverityError
				x.Message = fmt.Sprintf("lists the egress address %s, which the node does not have, and no other of IPv%s; the policy's IPv%[2]s flows are dropped", a, f)
			case !others:
				x.Message = fmt.Sprintf("lists the egress address %s, which the node does not have, and no other of IPv%s; no attachment of the policy uses IPv%[2]s", a, f)
			}
			n.Report(x)
		}
	}
}
