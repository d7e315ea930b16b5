package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var pathMTUBlackHole = Check{
	ID:       "path-mtu-black-hole",
	Title:    "Large packets to or from a destination are lost, and small ones pass",
	Severity: report.SeverityError,
	Reads:    "TCP_INFO of the connections in the containers (sock_diag)",
	Applies:  "a connection has stood still for some seconds",
	Remedy:   "Measure the path with masq-cni doctor pod POD --to HOST:PORT, and lower the MSS for the destination with masq-cni clamp add.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.containerFacts(ctx)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, g := range facts.Sockets.blackHoles() {
			out = append(out, g.blackHole(n))
		}
		return shortened(out), facts.check()
	},
}

// addresses returns the addresses of groups.
func addresses(groups []*socketGroup) (out []netip.Addr) {
	for _, g := range groups {
		out = append(out, g.remote.Addr())
	}
	return out
}

// blackHoles returns groups that show a black hole. A destination that does not answer new
// connections either is no evidence of one.
func (x *socketFacts) blackHoles() []*socketGroup {
	silent := addresses(x.with(synUnanswered))
	return slices.DeleteFunc(x.with(largeLost, gap, largeUnacked, noData), func(g *socketGroup) bool {
		return (g.symptom == largeUnacked || g.symptom == noData) && slices.Contains(silent, g.remote.Addr())
	})
}

func (g *socketGroup) blackHole(n *Node) Finding {
	c := &g.worst
	f := Finding{
		Severity: report.SeverityError,
		Evidence: []Evidence{g.evidence(n)},
		Why:      "A link on the way has a smaller MTU and its ICMP errors do not arrive: the same segment is sent and lost until the connection times out.",
		Remedy:   g.remedy(n, "measure the MTU of the path, and lower the MSS for the destination: masq-cni clamp add "+prefixOf(g.remote.Addr()).String()+" MSS; open connections keep their MSS"),
	}
	to := g.remote.String()
	if g.local != 0 {
		to = g.remote.Addr().String()
	}
	f.Object = "the path to " + to
	who := fmt.Sprintf("%s of %s", report.Plural(g.count, "connection"), n.containers(g.containers))
	switch g.symptom {
	case largeLost:
		f.Message = fmt.Sprintf("loses segments of %d bytes and passes smaller packets: %s, stuck for %s or longer", c.SndMSS, who, seconds(stuckTime(c)))
	case largeUnacked:
		f.Message = fmt.Sprintf("has passed no segment of %d bytes: %s, stuck for %s or longer, %d bytes of smaller segments were acknowledged",
			c.SndMSS, who, seconds(stuckTime(c)), max(c.BytesAcked, 1)-1)
		f.Why = "If the destination is reachable, a link on the way has a smaller MTU and its ICMP errors do not arrive; a destination that stopped answering looks the same."
	case gap:
		f.Message = fmt.Sprintf("has passed no full segment (%d bytes) to the container: %s, stuck for %s with a gap in the received data",
			c.AdvMSS, who, seconds(c.LastDataRecv))
	case noData:
		f.Severity = report.SeverityWarning
		f.Message = fmt.Sprintf("has passed no answer to %s: %d bytes were sent %s ago and acknowledged, and nothing came back", who, max(c.BytesAcked, 1)-1, seconds(c.LastDataSent))
		f.Why = "If the server has answered, its full-size segments are lost on the way; a server that has not answered yet looks the same."
	}
	return f
}

// prefixOf returns the prefix of one address.
func prefixOf(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// seconds rounds a duration down to seconds: "12 s".
func seconds(d time.Duration) string { return fmt.Sprintf("%d s", d/time.Second) }
