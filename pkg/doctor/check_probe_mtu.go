package doctor

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/probe"
	"github.com/masq-cni/masq-cni/pkg/report"
)

var pathMTUIn = Check{
	ID:       "path-mtu-in",
	Title:    "Large answers of the target vanish",
	Severity: report.SeverityError,
	Reads:    "exchanges with a TLS, HTTP or SSH server: with the MSS that the container offers, and with smaller ones",
	Applies:  "with --to a TCP port",
	Remedy:   "Lower the MSS of connections to that destination.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		return eachPath(ctx, n, func(p *ProbeFacts, x *ProbedPath) (*Finding, error) {
			in := x.Inward
			switch {
			case x.Target.UDP || x.Connection.State != probe.Connected:
				return nil, nil
			case in.NotChecked != "":
				return nil, notChecked(in.NotChecked)
			case in.Passes:
				return nil, nil
			}
			mss := in.Possible
			if x.Outward.MTU > 0 { // the path may be narrower in the other direction
				mss = min(mss, x.Outward.MTU-x.Target.Headers())
			}
			f := Finding{
				Severity: report.SeverityError, Object: "the path from " + x.target() + " to " + p.from(),
				Message: fmt.Sprintf("loses large packets%s: an MSS of %d is offered, %d is possible", p.narrow(x), in.Offered, mss),
				Evidence: []Evidence{
					{Source: fmt.Sprintf("%s exchange, MSS %d", in.Protocol, in.Offered), Value: lossText(in)},
					{Source: fmt.Sprintf("%s exchange, MSS %d", in.Protocol, in.Possible), Value: "the answer arrived"},
					{Source: fmt.Sprintf("%s exchange, MSS %d", in.Protocol, in.Fails), Value: "the answer did not arrive"},
				},
				Why: "Servers send packets as large as the MSS that they were offered allows. A router drops them, and its ICMP message does not reach the server: connections open, and then freeze.",
			}
			if in.Fails == in.Offered {
				f.Evidence = f.Evidence[:2]
			}
			f.Evidence = append(f.Evidence, p.outwardEvidence(x)...)
			n.clampRemedy(&f, x, mss)
			return &f, nil
		})
	},
}

var pathMTUOut = Check{
	ID:       "path-mtu-out",
	Title:    "Large packets to the target vanish",
	Severity: report.SeverityError,
	Reads:    "packets of several sizes with DF set, and the routers that answer to them",
	Applies:  "with --to",
	Remedy:   "Lower the MSS of connections to that destination.",
	Cost:     Probe,
	Run: func(ctx context.Context, n *Node) ([]Finding, error) {
		return eachPath(ctx, n, func(p *ProbeFacts, x *ProbedPath) (*Finding, error) {
			o := x.Outward
			in := x.Inward
			switch {
			case x.Connection.State != probe.Connected:
				return nil, nil
			case x.RawNotChecked != "":
				return nil, notChecked(x.RawNotChecked)
			case o.NotChecked != "":
				return nil, notChecked(o.NotChecked)
			case !o.Vanish:
				return nil, nil // no narrow link, or its router says so and TCP adapts
			case !x.Target.UDP && in.NotChecked == "" && !in.Passes:
				return nil, nil // path-mtu-in is about the same link and has the same remedy
			case !x.Target.UDP && x.Connection.SendMSS+x.Target.Headers() < o.Lost:
				return nil, nil // a clamp keeps segments small
			}
			mss := o.MTU - x.Target.Headers()
			f := Finding{
				Severity: report.SeverityError, Object: "the path from " + p.from() + " to " + x.target(),
				Message:  fmt.Sprintf("loses packets of %s%s, and no ICMP message says so", lostSizes(o), p.narrow(x)),
				Evidence: p.outwardEvidence(x),
				Why:      "TCP connections open, and freeze as soon as the container sends much: neither the container nor the node learns that the path is narrow.",
			}
			if x.Target.UDP {
				f.Why = "Large datagrams do not arrive: neither the container nor the node learns that the path is narrow."
				f.Remedy.Text = "let the routers' ICMP \"fragmentation needed\" and \"packet too big\" through, or make the application send smaller datagrams"
				return &f, nil
			}
			n.clampRemedy(&f, x, mss)
			return &f, nil
		})
	},
}

// lostSizes names the sizes of the packets that vanish.
func lostSizes(o probe.Outward) string {
	if o.Lost == o.MTU+1 {
		return fmt.Sprintf("more than %d bytes", o.MTU)
	}
	return fmt.Sprintf("%d bytes or more, and none of %d bytes", o.Lost, o.MTU)
}

// lossText says what arrived at the offered MSS.
func lossText(in probe.Inward) string {
	s := fmt.Sprintf("%d bytes of the answer arrived, and no more", in.Received)
	if in.AfterGap > 0 {
		s += fmt.Sprintf("; %s after a missing one", report.Plural(in.AfterGap, "segment"))
	}
	return s
}

// narrow names the narrow link, with a leading space, or returns "" if its place is not known.
func (p *ProbeFacts) narrow(x *ProbedPath) string {
	// The search ends some bytes below the MTU.
	tolerance, possible := 16, x.Outward.MTU
	if in := x.Inward; !in.Passes && in.Possible > 0 {
		possible = in.Possible + x.Target.Headers()
		tolerance = max(tolerance, in.Fails-in.Possible)
	}
	if u := x.Uplink; u.LinkMTU > 0 && u.LinkMTU < x.Inward.Offered+x.Target.Headers() && u.LinkMTU <= possible+tolerance {
		return fmt.Sprintf(" at uplink %s of the node, MTU %d", u.Interface, u.LinkMTU)
	}
	if o := x.Outward; o.Vanish {
		return " between " + p.router(x, o.After) + " and " + p.router(x, o.Before)
	} else if o.Named > 0 && o.Named <= possible+tolerance {
		return fmt.Sprintf(" at router %s, MTU %d", o.By, o.Named)
	}
	return ""
}

// router names a router of the path by its index.
func (p *ProbeFacts) router(x *ProbedPath, i int) string {
	switch {
	case i < 0:
		return p.place()
	case i >= len(x.Hops.Routers):
		return x.Target.Address.Addr().String()
	}
	a := x.Hops.Routers[i].Address.String()
	if !x.Hops.Routers[i].Address.IsValid() {
		a = fmt.Sprintf("the router at distance %d", x.Hops.Routers[i].TTL)
	}
	if i < p.nodeHops() {
		return "the node (" + a + ")"
	}
	return a
}

// outwardEvidence says what was measured, and what container and node believe.
func (p *ProbeFacts) outwardEvidence(x *ProbedPath) (out []Evidence) {
	o := x.Outward
	if o.MTU > 0 && o.NotChecked == "" {
		value := fmt.Sprintf("%d bytes", o.MTU)
		switch {
		case o.Vanish:
			value += fmt.Sprintf(", %d bytes vanish", o.Lost)
		case o.Named > 0:
			value += fmt.Sprintf(", ICMP of %s names it", o.By)
		}
		out = append(out, Evidence{Source: "largest packet that reaches the target, DF set", Value: value})
	}
	if o.Vanish {
		out = append(out, Evidence{Source: "last router that answers to larger packets", Value: p.router(x, o.After)},
			Evidence{Source: "first router that answers to smaller packets only", Value: p.router(x, o.Before)})
	}
	if p.Record != nil {
		out = append(out, Evidence{Source: "MTU of " + x.Route.Interface + " and of its route to the target (container)", Value: fmt.Sprintf("%d, %d", x.Route.LinkMTU, x.Route.MTU)})
	}
	if x.NodeRouteErr == nil {
		out = append(out, Evidence{Source: "MTU of " + x.Uplink.Interface + " and of its route to the target (node)", Value: fmt.Sprintf("%d, %d", x.Uplink.LinkMTU, x.Uplink.MTU)})
	}
	return out
}

// clampRemedy adds the remedy that lowers the MSS of connections to the target.
func (n *Node) clampRemedy(f *Finding, x *ProbedPath, mss int) {
	to := prefixOf(x.Target.Address.Addr())
	f.Remedy = Remedy{
		Text:     fmt.Sprintf(`to keep it after a restart, add "mssClamps": {"%s": %d} to the configuration of the node or of the network`, to, mss),
		Commands: []string{fmt.Sprintf("masq-cni clamp add %s %d", to, mss)},
	}
	if n.SetClamp != nil {
		f.Remedy.Fix = &Fix{
			Does:  fmt.Sprintf("lowers the MSS of connections to %s to %d", to, mss),
			Undo:  []string{fmt.Sprintf("masq-cni clamp delete %s", to)},
			Apply: func(ctx context.Context) error { return n.SetClamp(ctx, to, mss) },
		}
	}
}
