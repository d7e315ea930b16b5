package e2e

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConformanceWithIPMasqAgent gives the same configuration to two nodes. One has the
// rules that ip-masq-agent writes for it in iptables, the other runs masqd. At the first
// and last address of each prefix, and at their neighbors, the same source addresses
// arrive from both nodes, and they are the ones that ip-masq-agent documents.
func TestConformanceWithIPMasqAgent(t *testing.T) {
	theirs, ours := newAgentNode(t), newAgentNode(t)
	// A network without policy keys uses the node's policy too.
	attached := ours.attach("attached", ours.namedConflist("other", "1.0.0", ours.masq().With(keys{"ipam": keys{
		"type": "host-local", "dataDir": filepath.Join(ours.dir, "leases"),
		"ranges": []any{[]any{keys{"subnet": "10.89.0.0/16"}}, []any{keys{"subnet": "fd00:89::/64"}}},
	}})))
	destinations := edges(agentRuns)
	for _, run := range agentRuns {
		t.Run(run.name, func(t *testing.T) {
			defer ours.in(t).masqd(run).end()
			for _, in := range run.inputs {
				t.Run(in.name, func(t *testing.T) {
					theirs, ours := theirs.in(t), ours.in(t)
					theirs.restore(in.want)
					want := in.want.answers(theirs, destinations)
					reference := theirs.ask(theirs.pod, destinations)
					for _, d := range reference.differences(want) {
						t.Errorf("ip-masq-agent differs from its documentation: %s", d)
					}
					decided := in.want
					if in.instead != nil {
						decided, reference = *in.instead, in.instead.answers(ours, destinations)
						if len(reference.differences(want)) == 0 {
							t.Error("the documented difference of masqd is none")
						}
					}
					ours.change(in, decided)
					for _, d := range ours.ask(ours.pod, destinations).differences(reference) {
						t.Errorf("masqd differs: %s", d)
					}
					for _, d := range ours.ask(attached, destinations).differences(reference) {
						t.Errorf("masqd differs for an attachment: %s", d)
					}
				})
			}
		})
	}

	// The control: two nodes with different configurations.
	t.Run("different inputs", func(t *testing.T) {
		theirs, ours := theirs.in(t), ours.in(t)
		defer ours.masqd(agentRun{}).end()
		theirs.restore(decision{direct: []string{"10.0.0.0/8"}})
		ours.change(agentInput{files: one("nonMasqueradeCIDRs: [10.0.0.0/9]\n")}, decision{direct: []string{"10.0.0.0/9"}})
		var want []string
		for _, dst := range destinations {
			if netip.MustParsePrefix("10.128.0.0/9").Contains(dst) {
				want = append(want, dst.String()+": "+nodeAddress+", not "+ownAddress)
			}
		}
		slices.Sort(want)
		got := ours.ask(ours.pod, destinations).differences(theirs.ask(theirs.pod, destinations))
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("differences found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})

	// docs/node-configuration.md: multicast is always direct with masqd. With ip-masq-agent only LOCAL is.
	t.Run("multicast", func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		theirs, ours := theirs.in(t), ours.in(t)
		defer ours.masqd(agentRun{}).end()
		theirs.restore(decision{})
		ours.change(agentInput{files: one("nonMasqueradeCIDRs: []\n")}, decision{})
		for n, want := range map[*agentNode]string{theirs: nodeAddress, ours: ownAddress} {
			routeMulticast(t, n.Node, n.pod.addr(group), group, n.pod.result.Interfaces[0].Name, "uplink")
			if got := n.beyond(n.pod, []netip.Addr{group}); !maps.Equal(got, answers{group.String(): want}) {
				t.Errorf("got %v, want %s", got, want)
			}
		}
	})
}
