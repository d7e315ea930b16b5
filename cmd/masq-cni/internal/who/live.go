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

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// lookUp is what has the answer to a question, and the flows of it that lookups find.
// The records of these do where they name everybody: to read a thousand takes ten times
// as long as all the rest.
func lookUp(n *node.Node, q endpoint) (x node.Conn, flows []conntrack.Flow, err error) {
	if x.Conn, err = conntrack.Open(); err != nil {
		return x, nil, err
	}
	flows, err = get(x, q.tuples())
	if len(flows) > 0 {
		x.Snapshot = n.SnapshotOf(flows)
	}
	if err == nil && !names(x.Snapshot, q, flows) {
		x.Snapshot, err = n.Snapshot()
	}
	if err != nil {
		return x, nil, errors.Join(err, x.Close())
	}
	return x, flows, nil
}

// get finds the flows that have one of these tuples.
func get(x node.Conn, all []conntrack.Tuple) ([]conntrack.Flow, error) {
	var out []conntrack.Flow
	for _, t := range all {
		f, err := x.Get(t)
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

// names reports whether there are flows behind an endpoint, and it is known of all whose
// they are.
func names(v node.Snapshot, q endpoint, flows []conntrack.Flow) bool {
	known := false
	for i := range flows {
		if f, ok := behind(v, q, &flows[i], time.Time{}); ok {
			if known = f.Owner != (report.Owner{}); !known {
				break
			}
		}
	}
	return known
}

// described are those of flows that are behind an endpoint.
func described(v node.Snapshot, q endpoint, flows []conntrack.Flow) iter.Seq2[report.Flow, error] {
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		for i := range flows {
			if r, ok := behind(v, q, &flows[i], now); ok && !yield(r, nil) {
				return
			}
		}
	}
}

// readAll finds the flows behind an endpoint in dumps, each once. One that the kernel calls
// incomplete is made again while nothing was found.
func readAll(ctx context.Context, x node.Conn, q endpoint) iter.Seq2[report.Flow, error] {
	t := q.tuple()
	all := []node.Query{{Filter: conntrack.Filter{Reply: t}}, {Filter: conntrack.Filter{Original: t, Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT}}}
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		seen := map[conntrack.Tuple]bool{} // a dump may give a flow twice
		for i := range node.MaxDumps {
			more := true
			err := node.Dump(ctx, x.Conn, all, func(f *conntrack.Flow) bool {
				if r, ok := behind(x.Snapshot, q, f, now); ok && !seen[f.Original] {
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

// behind describes a flow by whom it has at the endpoint, if it has: who began it,
// or, where its destination is translated, who was reached.
func behind(v node.Snapshot, q endpoint, f *conntrack.Flow, now time.Time) (report.Flow, bool) {
	from, to := v.Owners.Ends(f)
	switch {
	case q.match(&f.Reply):
		if from == nil {
			to = nil // is at the other end
		}
	case f.Status&conntrack.DstNAT != 0 && q.match(&f.Original):
		from = nil
	default:
		return report.Flow{}, false
	}
	return report.FlowOf(f, from, to, now), true
}

// writeNone says that nobody was found, and what may be the reason.
func writeNone(x node.Conn, q endpoint, w io.Writer) error {
	table, err := x.Table()
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
	if _, err := fmt.Fprintf(w, "no %s leaves as %s%s now; the table has %s\n", what, q, to, report.Plural(int(table.Entries), "flow")); err != nil {
		return err
	}
	if _, err := os.Stat(natLogDir); err == nil {
		if _, err := fmt.Fprintln(w, "note: the NAT log knows flows that are over: --at TIME"); err != nil {
			return err
		}
	}
	hint, err := hint(x.Snapshot, q.addr)
	if err != nil || hint == "" {
		return err
	}
	_, err = fmt.Fprintf(w, "note: %s is %s\n", q.addr, hint)
	return err
}

// hint says what keeps an address from being an egress address, if anything does.
func hint(v node.Snapshot, a netip.Addr) (string, error) {
	if o := v.Owners.Find(a); o != nil {
		pod := report.Clean(o.Pod())
		return fmt.Sprintf("the own address of %s, whose flows may leave as another: masq-cni inspect flows --pod %s", pod, pod), nil
	}
	names, err := node.Holders(a)
	if err != nil {
		return "", err
	}
	if _, here := names[a]; here {
		return "", nil
	}
	return "neither an address of the node nor of an attachment", nil
}
