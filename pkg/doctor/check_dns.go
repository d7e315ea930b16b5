package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var dnsUnanswered = Check{
	ID:       "dns-unanswered",
	Title:    "DNS queries of containers get no answer",
	Severity: report.SeverityError,
	Reads:    "flows to port 53 in the conntrack table",
	Applies:  "containers have sent DNS queries within the last half minute",
	Remedy:   "Make the server reachable, or give the containers another one.",
	Cost:     Cheap,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		facts, err := n.flowFacts(ctx)
		if err != nil {
			return nil, err
		}
		var out []Finding
		for _, s := range silentServers(facts.DNS.Clients, n.examines) {
			out = append(out, s.finding(n))
		}
		return out, nil
	},
}

// silentServer is a DNS server that does not answer containers.
type silentServer struct {
	server     netip.Addr
	protocol   uint8
	severity   report.Severity
	count      dnsCount // the sum for all clients
	clients    []int    // indices of attachments, those with the most unanswered flows first
	unanswered []int    // the number of unanswered flows, by client
}

// Thresholds for a server that answers some queries of a container and not others: single
// packets are lost on healthy networks too.
const (
	minUnansweredDNS = 10
	maxAnsweredRatio = 2 // answered flows for each unanswered one
)

// unansweredSeverity returns the severity for an attachment and a server, or "".
func (c *dnsCount) unansweredSeverity() report.Severity {
	switch {
	case c.Answered == 0 && c.Unanswered > 1:
		return report.SeverityError
	case c.Answered == 0 && c.Unanswered == 1:
		return report.SeverityWarning
	case c.Unanswered >= minUnansweredDNS && c.Answered <= maxAnsweredRatio*c.Unanswered:
		return report.SeverityWarning
	}
	return ""
}

// silentServers groups the clients that get no answer by server, in a stable order.
func silentServers(all map[dnsClient]*dnsCount, examines func(attachment int) bool) []*silentServer {
	keys := make([]dnsClient, 0, len(all))
	for k, c := range all {
		if c.unansweredSeverity() != "" && examines(k.Attachment) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b dnsClient) int {
		return cmp.Or(a.Server.Compare(b.Server), cmp.Compare(b.Protocol, a.Protocol),
			cmp.Compare(all[b].Unanswered, all[a].Unanswered), cmp.Compare(a.Attachment, b.Attachment))
	})
	var out []*silentServer
	for _, k := range keys {
		c := all[k]
		if len(out) == 0 || out[len(out)-1].server != k.Server || out[len(out)-1].protocol != k.Protocol {
			out = append(out, &silentServer{server: k.Server, protocol: k.Protocol, severity: report.SeverityWarning})
		}
		s := out[len(out)-1]
		s.clients, s.unanswered = append(s.clients, k.Attachment), append(s.unanswered, c.Unanswered)
		s.count.Answered += c.Answered
		s.count.Unanswered += c.Unanswered
		s.count.Translated += c.Translated
		if c.Idle > s.count.Idle {
			s.count.Last, s.count.Idle = c.Last, c.Idle
		}
		if c.unansweredSeverity() == report.SeverityError || len(s.clients) > 1 && s.count.Answered == 0 {
			s.severity = report.SeverityError
		}
	}
	return out
}

func (s *silentServer) finding(n *Node) Finding {
	transport, key := "udp", "net.netfilter.nf_conntrack_udp_timeout"
	if s.protocol == unix.IPPROTO_TCP {
		transport, key = "tcp", "net.netfilter.nf_conntrack_tcp_timeout_syn_sent"
	}
	c := &s.count
	message := fmt.Sprintf("answers no query of %s: %s without an answer", n.containers(s.clients), report.Plural(c.Unanswered, "flow"))
	if c.Answered > 0 {
		message = fmt.Sprintf("does not answer all queries of %s: %s without an answer, %d with one", n.containers(s.clients), report.Plural(c.Unanswered, "flow"), c.Answered)
	}
	translated := fmt.Sprintf("%d of %d flows without an answer", c.Translated, c.Unanswered)
	to := netip.AddrPortFrom(s.server, dnsPort).String()
	if s.protocol == unix.IPPROTO_UDP {
		to += "/udp"
	}
	f := Finding{
		Severity: s.severity,
		Object:   fmt.Sprintf("DNS server %s (%s)", s.server, transport),
		Message:  message,
		Evidence: []Evidence{
			{"conntrack", unansweredFlow(&c.Last, c.Idle)},
			{"conntrack, source translated", translated},
			{key, fmt.Sprint(int((c.Idle + c.Last.Timeout) / time.Second))},
		},
		Why: "A program that gets no answer cannot resolve names: its connections fail before they begin.",
		Remedy: Remedy{
			Text: "find where the queries or the answers are lost",
			Commands: []string{
				"masq-cni doctor pod " + report.ShellQuote(n.Owners.At(s.clients[0]).Pod()) + " --to " + report.ShellQuote(to),
			},
		},
	}
	if c.Translated == 0 {
		f.Remedy.Text = "the queries leave with the containers' own addresses: the server needs a route back to them, or the policy must translate them; find where the queries or the answers are lost"
	}
	return f
}

// unansweredFlow describes a flow without an answer, as conntrack has it.
func unansweredFlow(f *conntrack.Flow, idle time.Duration) string {
	s := fmt.Sprintf("%s, unreplied, last packet %d s ago", f.Original, idle/time.Second)
	if f.Reply.Src != f.Original.Dst || f.Reply.SrcPort != f.Original.DstPort {
		s += ", destination translated to " + netip.AddrPortFrom(f.Reply.Src, f.Reply.SrcPort).String()
	}
	if f.Translated() {
		return s + ", source translated to " + f.Egress().String()
	}
	return s + ", source not translated"
}
