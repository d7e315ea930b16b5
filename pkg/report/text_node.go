package report

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// WriteText writes the summary as text.
func (n *Node) WriteText(w io.Writer, s Style) error {
	if err := n.Problems.write(w, s); err != nil {
		return err
	}
	var f facts
	switch t := n.Table; {
	case t == nil:
		f.add("table", "%s", s.Paint(Red, "not known"))
	case !t.Exists && !t.Desired:
		f.add("table", "none, and none is needed")
	case !t.Exists:
		f.add("table", "%s", s.Paint(Red, "missing"))
	default:
		f.add("table", "inet masq: %s, generation %d", Plural(t.Rules, "rule"), t.Generation)
	}
	if t := n.Table; t != nil {
		drift := s.Paint(Green, "none")
		if t.Drift > 0 {
			drift = s.Paint(Red, Plural(t.Drift, "difference"))
		}
		f.add("drift", "%s", drift)
	}
	if l := n.Links; l != nil && l.Compared > 0 {
		state := s.Paint(Green, "as ADD made them")
		if l.Differences > 0 {
			state = s.Paint(Red, Plural(l.Differences, "difference"))
		}
		f.add("links", "%d, %s", l.Compared, state)
	}
	f.add("masqd", "%s", n.Daemon)
	f.add("attachments", "%d%s", n.Attachments.Total, inParentheses(
		part{n.Attachments.Chained, "after another plugin"}, part{n.Attachments.NotReady, "pending"}))
	for i, u := range n.Uplinks {
		f.add(ifFirst(i, "uplinks"), "%s", u)
	}
	if len(n.Uplinks) == 0 {
		f.add("uplinks", "none: no default route")
	}
	for i, x := range n.Firewalls {
		f.add(ifFirst(i, "firewalls"), "table %s %s, chain %s", x.Family, Clean(x.Table), Clean(x.Chain))
		f.add("", "  hook %s, priority %d, policy %s%s%s", x.Hook, x.Priority, x.Policy, x.rules(), x.owner())
	}
	if x := n.Flows; x != nil {
		f.add("flows", "%d (%d translated, %d of attachments)", x.Total, x.Translated, x.Owned)
		for i, e := range x.Egress {
			f.add(ifFirst(i, "egress"), "%s, %s", egressName(e.Address), Plural(e.Flows, "flow"))
		}
		for i, h := range x.Helpers {
			f.add(ifFirst(i, "helpers"), "%s, %s", Clean(h.Helper), Plural(h.Flows, "control connection"))
		}
		if d := n.DaemonHelpers; d != nil {
			f.add(ifFirst(len(x.Helpers), "helpers"), "by masqd: %s (%s)", cmp.Or(strings.Join(n.Daemon.Helpers, ", "), "none"), d)
		}
		f.add("expectations", "%d", x.Expectations)
	}
	if n.Dropped != nil {
		f.add("dropped", "%s", n.Dropped)
	}
	if c := n.Conntrack; c != nil {
		f.add("conntrack", "%d of %d entries (%.1f %%)", c.Entries, c.Limit, 100*float64(c.Entries)/float64(max(c.Limit, 1)))
		f.add("", "%d insert_failed, %d drop, %d early_drop, %d invalid", c.InsertFailed, c.Drop, c.EarlyDrop, c.Invalid)
		if s.Wide {
			f.add("", "%d error, %d search_restart, %d clash_resolve, %d chaintoolong", c.Error, c.SearchRestart, c.ClashResolve, c.ChainTooLong)
		}
	}
	if err := f.write(w); err != nil {
		return err
	}
	if len(n.Policies) > 0 {
		if err := n.writePolicies(w, s); err != nil {
			return err
		}
	}
	if n.Flows != nil && len(n.Flows.States) > 0 {
		if err := writeStates(w, s, n.Flows.States); err != nil {
			return err
		}
	}
	return n.writeNotes(w)
}

// String returns the state in a line.
func (d Daemon) String() string {
	switch {
	case d.Stopped:
		return fmt.Sprintf("stopped, pid %d", d.PID)
	case !d.Running:
		return "not running"
	case d.PID == 0:
		return "running"
	case d.Elsewhere:
		return fmt.Sprintf("running in another network namespace, pid %d", d.PID)
	}
	return fmt.Sprintf("running, pid %d", d.PID)
}

type part struct {
	n    int
	what string
}

// inParentheses lists parts with their numbers: " (1 chained, 2 pending)".
func inParentheses(parts ...part) string {
	var out []string
	for _, p := range parts {
		if p.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// ifFirst returns the name for the first of several lines, otherwise "".
func ifFirst(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}

func egressName(a netip.Addr) string {
	if !a.IsValid() {
		return "other addresses"
	}
	return a.String()
}

func (n *Node) writePolicies(w io.Writer, s Style) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(w, s, "POLICY", "ATTACHMENTS", "TRANSLATES", "PORTS", "MSS", "HELPERS")
	for _, p := range n.Policies {
		id := p.ID
		if p.Sources {
			id += " (sourceCIDRs)"
		}
		if err := t.row(id, fmt.Sprint(p.Attachments), p.target(), p.ports(), p.mss(), p.helpers()); err != nil {
			return err
		}
	}
	return t.flush()
}

func (p Policy) target() string {
	switch {
	case p.EgressDirect:
		return "nothing"
	case len(p.SNATAddresses) == 0:
		return "to the uplink's address"
	}
	var out []string
	for _, a := range p.SNATAddresses {
		text := a.String()
		if slices.Contains(p.SNATMissing, a) {
			text += " (missing)"
		}
		out = append(out, text)
	}
	return "to " + strings.Join(out, ", ")
}

func (p Policy) ports() string {
	if p.EgressDirect {
		return ""
	}
	var out []string
	for _, r := range p.ToPorts {
		out = append(out, r.String())
	}
	text := strings.Join(out, ", ")
	if text == "" {
		text = "any"
	}
	if p.RandomFully {
		text += ", random"
	}
	return text
}

func (p Policy) mss() string {
	text := p.MSSClamp.String()
	if n := len(p.MSSClamps); n > 0 {
		text += fmt.Sprintf(", %d by prefix", n)
	}
	if n := len(p.LocalMSSClamps); n > 0 {
		text += fmt.Sprintf(", %d local", n)
	}
	return text
}

// helpers lists the helpers with their ports, first those of the kernel:
// "ftp:21+2121, rtsp:554 (by masqd)".
func (p Policy) helpers() string {
	list := func(all []masq.Helper, mark string) (out []string) {
		for _, h := range all {
			var ports []string
			for _, port := range h.Ports {
				ports = append(ports, fmt.Sprint(port))
			}
			out = append(out, h.Name+":"+strings.Join(ports, "+")+mark)
		}
		return out
	}
	return strings.Join(append(list(p.KernelHelpers(), ""), list(p.DaemonHelpers(), " (by masqd)")...), ", ")
}

func writeStates(w io.Writer, s Style, all []StateCount) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := newTable(w, s, "PROTO", "STATE", "FLOWS")
	for _, x := range all {
		if err := t.row(x.Protocol, x.State, fmt.Sprint(x.Flows)); err != nil {
			return err
		}
	}
	return t.flush()
}

func (n *Node) writeNotes(w io.Writer) error {
	if len(n.Notes) == 0 {
		return nil
	}
	b := strings.Builder{}
	b.WriteString("\n")
	for _, text := range n.Notes {
		Wrap(&b, problemColumn, "note", len("note"), text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
