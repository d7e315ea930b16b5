package who

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"time"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// searchTable searches the conntrack table.
func searchTable(ctx context.Context, n *node.Node, q endpoint, w output.Writer) error {
	c, flows, err := open(n, q)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	all := dumped(ctx, c, q)
	if q.tuples() != nil {
		all = described(c.Snapshot, q, flows)
	}
	found, unowned, err := writeFlows(all, q, w, report.FlowColumns())
	switch {
	case err != nil:
		return err
	case unowned && c.Unread != nil:
		return c.Unread // one of these records may have the owner
	case found:
		return nil
	}
	if w.Format == "" {
		if err := writeNotFound(c, q, w); err != nil {
			return err
		}
	}
	return exitcode.ErrFailed
}

// open connects to conntrack, and looks up flows of q where lookups are possible. It reads
// only the records of these flows if they name all owners: to read a thousand records takes
// ten times as long as the rest of the command.
func open(n *node.Node, q endpoint) (c node.Conn, flows []conntrack.Flow, err error) {
	if c.Conn, err = conntrack.Open(); err != nil {
		return c, nil, err
	}
	flows, err = lookUp(c, q.tuples())
	if len(flows) > 0 {
		c.Snapshot = n.SnapshotOf(flows)
	}
	if err == nil && !allOwned(c.Snapshot, q, flows) {
		c.Snapshot, err = n.Snapshot()
	}
	if err != nil {
		return c, nil, errors.Join(err, c.Close())
	}
	return c, flows, nil
}

// lookUp returns the flows that have one of these tuples.
func lookUp(c node.Conn, tuples []conntrack.Tuple) ([]conntrack.Flow, error) {
	var out []conntrack.Flow
	for _, t := range tuples {
		f, err := c.Get(t)
		switch {
		case errors.Is(err, conntrack.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			out = append(out, f)
		}
	}
	return out, nil
}

// allOwned reports whether there are flows of q, and the owner of each is known.
func allOwned(s node.Snapshot, q endpoint, flows []conntrack.Flow) bool {
	known := false
	for i := range flows {
		if f, ok := describe(s, q, &flows[i], time.Time{}); ok {
			if known = f.Owner != (report.Owner{}); !known {
				break
			}
		}
	}
	return known
}

// described yields the flows of q among flows.
func described(s node.Snapshot, q endpoint, flows []conntrack.Flow) iter.Seq2[report.Flow, error] {
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		for i := range flows {
			if r, ok := describe(s, q, &flows[i], now); ok && !yield(r, nil) {
				return
			}
		}
	}
}

// dumped dumps the table and yields the flows of q, each once. If the kernel calls a dump
// incomplete and no flow was found yet, it dumps again.
func dumped(ctx context.Context, c node.Conn, q endpoint) iter.Seq2[report.Flow, error] {
	t := q.tuple()
	queries := []node.Query{{Filter: conntrack.Filter{Reply: t}}, {Filter: conntrack.Filter{Original: t, Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT}}}
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		seen := map[conntrack.Tuple]bool{} // a dump may have a flow twice
		for i := range node.MaxDumps {
			more := true
			err := node.Dump(ctx, c.Conn, queries, func(f *conntrack.Flow) bool {
				if r, ok := describe(c.Snapshot, q, f, now); ok && !seen[f.Original] {
					seen[f.Original] = true
					more = yield(r, nil)
				}
				return more
			})
			if errors.Is(err, conntrack.ErrInterrupted) && len(seen) == 0 && i < node.MaxDumps-1 {
				continue
			}
			if err != nil {
				yield(report.Flow{}, err)
			}
			return
		}
	}
}

// describe describes a flow of q by the container at the endpoint: the container that began
// the flow, or for which masqd began it, or, if the destination is translated, the container that it reached. ok is false
// for a flow that is not of q.
func describe(s node.Snapshot, q endpoint, f *conntrack.Flow, now time.Time) (r report.Flow, ok bool) {
	from, to := s.Owners.Ends(f)
	switch {
	case q.match(&f.Reply):
		if s.Owners.ClientOf(f) != nil {
			return s.Owners.FlowOf(f, now), true
		}
		if from == nil {
			to = nil // that container is at the other end
		}
	case f.Status&conntrack.DstNAT != 0 && q.match(&f.Original):
		from = nil
	default:
		return report.Flow{}, false
	}
	return report.FlowOf(f, from, to, now), true
}

// writeNotFound writes that no flow was found, and the likely reason.
func writeNotFound(c node.Conn, q endpoint, w io.Writer) error {
	table, err := c.Table()
	if err != nil {
		return err
	}
	what, to := "flow", ""
	if q.proto != 0 {
		what = report.Protocol(q.proto) + " flow"
	}
	if q.to.IsValid() {
		to = " to " + q.to.String()
	}
	if q.toPort != 0 {
		to = " to " + netip.AddrPortFrom(q.to, q.toPort).String()
	}
	if _, err := fmt.Fprintf(w, "no %s leaves as %s%s now; the conntrack table has %s\n", what, q, to, report.Plural(int(table.Entries), "flow")); err != nil {
		return err
	}
	if _, err := os.Stat(natLogDir); err == nil {
		if _, err := fmt.Fprintln(w, "note: the NAT log has earlier flows: --at TIME"); err != nil {
			return err
		}
	}
	hint, err := hintFor(c.Snapshot, q.addr)
	if err != nil || hint == "" {
		return err
	}
	_, err = fmt.Fprintf(w, "note: %s is %s\n", q.addr, hint)
	return err
}

// hintFor tells why an address is no egress address; empty if it may be one.
func hintFor(s node.Snapshot, a netip.Addr) (string, error) {
	if o := s.Owners.Find(a); o != nil {
		pod := report.Clean(o.Pod())
		return fmt.Sprintf("the own address of %s, whose translated flows leave with another address; to list them: masq-cni inspect flows --pod %s", pod, pod), nil
	}
	names, err := node.Holders(a)
	if err != nil {
		return "", err
	}
	if _, ok := names[a]; ok {
		return "", nil
	}
	return "neither an address of the node nor of an attachment", nil
}
