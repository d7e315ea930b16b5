package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// A healthy connection can have some invalid packets: a FIN that is repeated, or a RST, after
// the flow has ended. Linux repeats the FIN of a closed connection at most 8 times
// (tcp_orphan_retries in ip-sysctl.rst).
const (
	minInvalid        = 1000
	minInvalidPerFlow = 20
)

// closedFlowTime is how long a closed TCP flow stays in the table
// (nf_conntrack_tcp_timeout_time_wait).
const closedFlowTime = 2 * time.Minute

var conntrackLiberal = Check{
	ID:       "conntrack-liberal",
	Title:    "Conntrack takes many packets of a container's connections for invalid",
	Severity: report.SeverityWarning,
	Reads:    "`nf_conntrack_tcp_be_liberal`, the counters of sets `invalid4` and `invalid6` and of maps `policy4` and `policy6`",
	Applies:  fmt.Sprintf("%d or more packets of a container were dropped as invalid", minInvalid),
	Remedy:   "Let the kernel log the reason; if the packets are outside of the window, set `nf_conntrack_tcp_be_liberal`.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		liberal, found, err := n.readConntrackSetting("tcp_be_liberal")
		if err != nil || !found || liberal != 0 {
			return nil, err
		}
		rules, err := n.countedRules()
		if err != nil || report.DroppedOf(rules).Invalid < minInvalid {
			return nil, err
		}
		dropped, err := queryRules((*nft.Conn).Dropped)
		if err != nil {
			return nil, err
		}
		counters, err := queryRules((*nft.Conn).Counters)
		if err != nil {
			return nil, err
		}
		flows, err := n.flowFacts(ctx)
		if err != nil {
			return nil, err
		}
		begun := map[string]uint64{}
		for _, b := range counters.Begun {
			begun[b.Address] += b.Packets
		}
		var out []Finding
		for i, r := range n.AllRecords {
			if !n.examines(i) {
				continue
			}
			for _, a := range r.Addresses {
				x := invalidPackets{dropped.Invalid[a.String()], begun[a.String()], flows.Incoming[i], n.Now.Sub(r.Created)}
				if !x.many() {
					continue
				}
				set := "table inet masq, set " + ruleset.InvalidSet.Of(masq.FamilyOf(a)) + ", element " + a.String()
				out = append(out, Finding{
					Severity: report.SeverityWarning,
					Object:   "container " + n.Owners.At(i).Pod(),
					Message:  fmt.Sprintf("has sent %s from %s that conntrack took for invalid, and began %s", report.Plural(x.packets, "packet"), a, report.Plural(x.begun, "flow")),
					Evidence: []Evidence{
						{set, fmt.Sprintf("counter packets %d", x.packets)},
						{"table inet masq, map " + ruleset.PolicySet.Of(masq.FamilyOf(a)) + ", element " + a.String(), fmt.Sprintf("counter packets %d", x.begun)},
						{conntrackSetting("tcp_be_liberal"), fmt.Sprint(liberal)},
					},
					Why: "Invalid packets are dropped because they would leave untranslated: a connection that needs them stalls.",
					Remedy: Remedy{
						Text: "let the kernel log why packets are invalid; if the reason is the window (\"SEQ is over upper bound\", \"ACK is under lower bound\"), accept such segments with the third command",
						Commands: []string{
							"sysctl -w " + conntrackSetting("log_invalid") + "=6",
							"journalctl -k -f --grep nf_ct_proto_6",
							"sysctl -w " + conntrackSetting("tcp_be_liberal") + "=1",
						},
					},
				})
			}
		}
		return out, nil
	},
}

// invalidPackets are the invalid packets that an address has sent since ADD.
type invalidPackets struct {
	packets  uint64
	begun    uint64        // flows that the address began since ADD
	incoming int           // flows to the attachment that are in the table now
	age      time.Duration // since ADD
}

// many reports whether the packets are more than healthy connections have. The number of
// incoming flows since ADD is not known: it is estimated from those in the table, each of
// which stays there for closedFlowTime at least.
func (x *invalidPackets) many() bool {
	flows := float64(x.begun) + float64(x.incoming)*max(1, float64(x.age)/float64(closedFlowTime))
	return x.packets >= minInvalid && float64(x.packets) >= minInvalidPerFlow*flows
}
