package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var connectionsStuck = Check{
	ID:       "connections-stuck",
	Title:    "Connections of containers retransmit and get no acknowledgement",
	Severity: report.SeverityError,
	Reads:    "TCP_INFO of the connections in the containers (sock_diag)",
	Applies:  "a connection has retransmitted a segment four times or more",
	Remedy:   "Find where the packets are lost with masq-cni doctor pod POD --to HOST:PORT.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.containerFacts(ctx)
		if err != nil {
			return nil, err
		}
		var out []Finding
		holes := addresses(facts.Sockets.blackHoles())
		for _, g := range facts.Sockets.with(noAck, largeUnacked) {
			if !slices.Contains(holes, g.remote.Addr()) {
				out = append(out, g.stuck(n))
			}
		}
		return shortened(out), facts.check()
	},
}

func (g *socketGroup) stuck(n *Node) Finding {
	c := &g.worst
	f := g.finding(n)
	f.Message = fmt.Sprintf("stand still: %s without an acknowledgement, %s, for %s or longer",
		report.Plural(g.count, "connection"), report.Plural(int(c.Retransmits), "retransmission"), seconds(stuckTime(c)))
	f.Why = "The packets, or the acknowledgements, are lost, or the destination has gone: the program waits until the connection times out."
	return f
}

var synsUnanswered = Check{
	ID:       "syn-unanswered",
	Title:    "New connections of containers get no answer",
	Severity: report.SeverityError,
	Reads:    "TCP sockets in the containers that wait for the answer to a SYN (sock_diag)",
	Applies:  "a SYN was sent four times or more",
	Remedy:   "Find where the packets are lost with masq-cni doctor pod POD --to HOST:PORT.",
	Cost:     Full,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.containerFacts(ctx)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, g := range facts.Sockets.with(synUnanswered) {
			f := g.finding(n)
			f.Message = fmt.Sprintf("get no answer: %s, %s of the SYN", report.Plural(g.count, "connection"), report.Plural(int(g.worst.Retransmits), "retransmission"))
			f.Why = "The SYN, or the answer, is dropped on the way, or nothing has the address: a closed port would be refused at once."
			out = append(out, f)
		}
		return shortened(out), facts.check()
	},
}

// finding returns a finding about the connections, without what it says of them. A single
// connection may be to a host that no longer exists.
func (g *socketGroup) finding(n *Node) Finding {
	severity := report.SeverityError
	if g.count == 1 {
		severity = report.SeverityWarning
	}
	return Finding{
		Severity: severity,
		Object:   fmt.Sprintf("connections of %s to %s", n.containers(g.containers), g.remote),
		Evidence: []Evidence{g.evidence(n)},
		Remedy:   g.remedy(n, "find where the packets are lost"),
	}
}
