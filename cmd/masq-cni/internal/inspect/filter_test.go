package inspect

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// TestFlowFilter checks which flags select a flow. They match its address and port before
// translation, or its address and port after it.
func TestFlowFilter(t *testing.T) {
	f := conntrack.Flow{
		Original: conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.2"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 40000, DstPort: 80, Proto: unix.IPPROTO_TCP},
		Reply:    conntrack.Tuple{Src: netip.MustParseAddr("10.88.0.3"), Dst: netip.MustParseAddr("192.0.2.2"), SrcPort: 8080, DstPort: 20000, Proto: unix.IPPROTO_TCP},
		Status:   conntrack.SrcNAT | conntrack.DstNAT, State: conntrack.TCPEstablished, Fields: conntrack.HasState,
	}
	for flags, want := range map[string]bool{
		"":                                           true,
		"--src 10.88.0.2":                            true,
		"--src 10.88.0.0/24 --sport 40000":           true,
		"--src 192.0.2.2 --sport 20000":              true,
		"--src 192.0.2.2 --sport 40000":              false,
		"--src 10.88.0.2 --sport 20000-30000":        false,
		"--dst 192.0.2.2 --dport 80":                 true,
		"--dst 10.88.0.3 --dport 8000-9000":          true,
		"--dst 10.88.0.3 --dport 80":                 false,
		"--src ::ffff:10.88.0.2":                     true,
		"--src 10.88.0.3":                            false,
		"--proto TCP --state ESTABLISHED":            true,
		"--state time_wait":                          false,
		"--proto udp":                                false,
		"--nat snat":                                 true,
		"--nat dnat":                                 true,
		"--nat none":                                 false,
		"--src 2001:db8::/32":                        false,
		"--dst 192.0.2.2 --src 10.88.0.2 --nat snat": true,
	} {
		var x flowFilter
		c := &cobra.Command{}
		x.register(c, &node.Node{})
		if err := c.ParseFlags(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		if err := x.parse(); err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		queries, err := x.queries(node.Snapshot{})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(queries, func(q node.Query) bool { return q.Match(&f) && (q.Except == nil || !q.Except(&f)) }) && x.match(&f)
		if got != want {
			t.Errorf("%q selects the flow: %t, want %t", flags, got, want)
		}
	}
}
