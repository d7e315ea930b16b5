package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

var helperInput = Check{
	ID:       "helper-input",
	Title:    "Another table drops connections that are redirected to masqd",
	Severity: report.SeverityError,
	Reads:    "chains of other tables with type filter and hook input, and the chains that they jump to; the addresses at which masqd listens",
	Applies:  "a policy has helpers of masqd: rtsp, talk, pna; rules and policies that certainly drop what is redirected, without a mark or a set",
	Remedy:   "Accept redirected connections of the containers in that chain.",
	Cost:     Cheap,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		used, err := n.daemonHelpers()
		if err != nil || len(used) == 0 {
			return nil, err
		}
		var addresses []netip.Addr
		for _, u := range used {
			for _, i := range u.attachments {
				addresses = append(addresses, n.AllRecords[i].Addresses...)
			}
		}
		uplinks, _, err := uplinkNames()
		if err != nil {
			return nil, err
		}
		c, err := nft.Open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		listeners, err := c.HelperElements(ruleset.ListenerSet)
		if err != nil {
			return nil, err
		}
		x := &otherTables{owners: tableOwners{}}
		var found []nft.OtherRule
		for _, l := range listeners {
			drops, err := c.OtherInputDrops(addresses, uplinks, l.Key)
			if err != nil {
				return nil, err
			}
			for _, r := range drops {
				// A rule may drop both what is redirected by TCP and by UDP.
				if !slices.ContainsFunc(found, r.IsRule) {
					found = append(found, r)
				}
			}
		}
		var out []Finding
		for _, r := range found {
			if err := x.owners.read(c, r.Family, r.Table); err != nil {
				return nil, err
			}
			out = append(out, n.inputDrop(x, &r))
		}
		return out, nil
	},
}

// inputDrop is the finding about a rule, or the policy of a chain.
func (n *Node) inputDrop(x *otherTables, r *nft.OtherRule) Finding {
	_, indices := n.addressesOf([]nft.OtherRule{*r})
	accept := "ct status dnat accept"
	if owner := x.ownerOf(r); owner == nft.AnyIptables {
		accept = "-m conntrack --ctstate DNAT -j ACCEPT"
	}
	f := Finding{
		Severity: report.SeverityError,
		Object:   chainName(r.Family, r.Table, r.Chain),
		Message:  fmt.Sprintf("drops what is redirected from %s to masqd: hook %s, priority %d", n.containers(indices), r.Hook, r.Priority),
		Evidence: x.evidenceOf(r),
		Why:      "The helpers of masqd redirect control connections to it. A connection whose packets are dropped hangs until the client gives up.",
		Remedy: Remedy{
			Text:     fmt.Sprintf("have %s accept redirected packets before: %s", configuredBy(x.ownerOf(r)), accept),
			Commands: []string{listChain(r.Family, r.Table, r.Chain)},
		},
	}
	return f
}
