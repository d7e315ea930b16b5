package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// eachPath calls f with each path of the probe, and returns its findings. Without a probe
// there are none.
func eachPath(ctx context.Context, n *Node, f func(*ProbeFacts, *ProbedPath) (*Finding, error)) (out []Finding, err error) {
	p, err := n.Probe(ctx)
	if p == nil || err != nil {
		return nil, err
	}
	var errs []error
	for i := range p.Paths {
		x := &p.Paths[i]
		if x.Err != nil {
			errs = append(errs, x.Err)
			continue
		}
		found, err := f(p, x)
		errs = append(errs, err)
		if found != nil {
			out = append(out, *found)
		}
	}
	return out, errors.Join(errs...)
}

var probeRefused = Check{
	ID:       "probe-refused",
	Title:    "The target of --to refuses connections",
	Severity: report.SeverityError,
	Reads:    "the answer to a connection attempt: RST, or ICMP \"destination unreachable\" and its sender",
	Applies:  "with --to",
	Remedy:   "Start the service on the target, or change the firewall that refuses.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		return eachPath(ctx, n, func(p *ProbeFacts, x *ProbedPath) (*Finding, error) {
			c, to := x.Connection, x.Target.Address.Addr()
			if c.State != probe.Refused && c.State != probe.Rejected || x.NextHop.Unresolved() || len(p.ended(x)) > 0 {
				return nil, nil
			}
			by, answer, remedy := c.By, "RST", "start the service on the target; or give --to the port on which it listens"
			if by.IsValid() {
				answer = "ICMP destination unreachable: " + c.Error
			} else {
				by = to
			}
			message := fmt.Sprintf("refuses connections of %s", p.from())
			if by != to {
				message = fmt.Sprintf("is not reached by %s: router %s rejects the packets", p.from(), by)
				remedy = fmt.Sprintf("change the firewall or the routes of %s, which rejects the packets", by)
			}
			return &Finding{
				Severity: report.SeverityError, Object: x.target(), Message: message,
				Evidence: append([]Evidence{{Source: "answer of " + by.String(), Value: answer}}, flowEvidence(x)...),
				Why:      "Each connection to this port fails at once.",
				Remedy:   Remedy{Text: remedy},
			}, nil
		})
	},
}

var probeUnanswered = Check{
	ID:       "probe-unanswered",
	Title:    "The target of --to does not answer",
	Severity: report.SeverityError,
	Reads:    "a connection attempt, the container's entry of its gateway, the routers that answer on the way, the flow in conntrack, counters of losses before and after",
	Applies:  "with --to; to a UDP port if it is 53, because other services may ignore the datagram",
	Remedy:   "Examine the two points between which the packets vanish.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		return eachPath(ctx, n, func(p *ProbeFacts, x *ProbedPath) (*Finding, error) {
			f := Finding{Severity: report.SeverityError, Object: x.target()}
			if x.NextHop.Unresolved() {
				p.unresolved(x, &f)
				return &f, nil
			}
			switch x.Connection.State {
			case probe.NoRoute:
				f.Message = fmt.Sprintf("is not reached by %s: %s has no route to it", p.from(), p.place())
				f.Evidence = []Evidence{{Source: "connect in the network namespace of " + p.place(), Value: x.Connection.Error}}
				f.Remedy.Text = "give " + p.place() + " a route, or make its gateway answer"
			case probe.Forbidden:
				f.Message = fmt.Sprintf("is not reached by %s: a rule in the network namespace of %s drops the packets", p.from(), p.place())
				f.Evidence = []Evidence{{Source: "connect in the network namespace of " + p.place(), Value: x.Connection.Error}}
				f.Remedy.Text = "accept the packets in the firewall of " + p.place()
			case probe.Unanswered:
				if x.Target.UDP && x.Target.Address.Port() != dnsPort {
					return nil, notChecked(x.target() + " does not answer a datagram; the service may ignore it")
				}
				if len(p.ended(x)) > 0 {
					return nil, nil // packet-dropped names the rule
				}
				last, next := p.lastPoint(x)
				f.Message = fmt.Sprintf("does not answer %s: packets vanish between %s and %s", p.from(), last, next)
				f.Evidence = append(x.unansweredEvidence(), p.counterEvidence()...)
				f.Remedy.Text = fmt.Sprintf("find out what drops the packets between %s and %s: a firewall, a missing route back to %s, or a host that is down", last, next, x.seenSource())
			default:
				return nil, nil
			}
			f.Why = "Each connection to this port waits until its time-out."
			return &f, nil
		})
	},
}

// unresolved completes the finding about a first hop of a container that does not answer.
func (p *ProbeFacts) unresolved(x *ProbedPath, f *Finding) {
	protocol := "ARP"
	if x.firstHop().Is6() {
		protocol = "neighbor discovery"
	}
	f.Message = fmt.Sprintf("is not reached by %s: it does not answer %s on interface %s of the container", p.from(), protocol, x.Route.Interface)
	f.Remedy.Text = "start the host with this address, or correct the address"
	if gateway := x.Route.Gateway; gateway.IsValid() {
		f.Message = fmt.Sprintf("is not reached by %s: the container's gateway %s does not answer %s", p.from(), gateway, protocol)
		f.Remedy.Text = fmt.Sprintf("find out why no interface of the node, or of the network, has the address %s; recreate the pod to restore its routes", gateway)
	}
	f.Evidence = append([]Evidence{{
		Source: fmt.Sprintf("neighbor %s dev %s in %s", x.firstHop(), x.Route.Interface, p.Record.NetNS), Value: x.NextHop.String(),
	}}, x.unansweredEvidence()...)
	f.Why = "Packets do not leave the container: each connection fails with \"no route to host\", or waits until its time-out."
}

// seenSource returns the source address that the target sees. Without a flow in conntrack it
// is the sender's own.
func (x *ProbedPath) seenSource() string {
	if x.Flow != nil {
		return x.Flow.Egress().Addr().String()
	}
	return x.Connection.Local.Addr().String()
}

// flowEvidence tells what conntrack knows of the connection.
func flowEvidence(x *ProbedPath) []Evidence {
	if x.Flow == nil {
		return nil
	}
	value := x.Flow.Original.String() + ", source not translated"
	if x.Flow.Translated() {
		value = fmt.Sprintf("%s, source translated to %s", x.Flow.Original, x.Flow.Egress())
	}
	return []Evidence{{Source: "conntrack", Value: value}}
}

func (x *ProbedPath) unansweredEvidence() []Evidence {
	attempt := fmt.Sprintf("no answer within %.1f s", x.Connection.Duration.Seconds())
	if x.Connection.Error != "" {
		attempt = x.Connection.Error
	}
	out := []Evidence{{Source: "connection attempt", Value: attempt}}
	out = append(out, flowEvidence(x)...)
	if x.Flow == nil {
		out = append(out, Evidence{Source: "conntrack", Value: "no flow: no packet has left the node"})
	}
	switch {
	case x.RawNotChecked != "":
		out = append(out, Evidence{Source: "routers on the way", Value: "not checked: " + x.RawNotChecked})
	case x.Hops.LastAnswer() < 0:
		out = append(out, Evidence{Source: "routers on the way", Value: "none answers"})
	default:
		var all []string
		for _, h := range x.Hops.Routers {
			name := "?"
			if h.Address.IsValid() {
				name = h.Address.String()
			}
			all = append(all, name)
		}
		out = append(out, Evidence{Source: "routers that answer", Value: strings.Join(all, ", ")})
	}
	if r := x.Hops.Refused; r.From.IsValid() {
		out = append(out, Evidence{Source: "answer of " + r.From.String() + " to a single packet", Value: fmt.Sprintf("ICMP destination unreachable, code %d", r.Code)})
	}
	return out
}

// counterEvidence returns the counters of losses that have grown.
func (p *ProbeFacts) counterEvidence() (out []Evidence) {
	for _, where := range []struct {
		name string
		c    probe.Counters
	}{{"of the container", p.Container}, {"of the node", p.Node}} {
		for _, name := range where.c.Losses() {
			// The probe itself repeats a SYN, and its packets with a small TTL expire.
			switch name {
			case "Tcp.RetransSegs", "TcpExt.TCPSynRetrans", "TcpExt.TCPTimeouts", "Ip.InHdrErrors", "Ip6InHdrErrors":
				continue
			}
			out = append(out, Evidence{Source: name + " " + where.name, Value: fmt.Sprintf("+%d during the probe", where.c[name])})
		}
	}
	return out
}
