package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// asked is what has the answer to a question, and the flows of it that lookups find.
// The records of these do where they name everybody: to read a thousand takes ten times
// as long as all the rest.
func (n *node) asked(q endpoint) (x live, flows []conntrack.Flow, err error) {
	if x.Conn, err = conntrack.Open(); err != nil {
		return x, nil, err
	}
	flows, err = x.lookUp(q.tuples())
	if len(flows) > 0 {
		x.view = n.viewOf(flows)
	}
	if err == nil && !x.names(q, flows) {
		x.view, err = n.view()
	}
	if err != nil {
		return x, nil, errors.Join(err, x.Close())
	}
	return x, flows, nil
}

// lookUp finds the flows that have one of these tuples.
func (x live) lookUp(all []conntrack.Tuple) ([]conntrack.Flow, error) {
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
func (v view) names(q endpoint, flows []conntrack.Flow) bool {
	known := false
	for i := range flows {
		if f, ok := v.behind(q, &flows[i], time.Time{}); ok {
			if known = f.Owner != (report.Owner{}); !known {
				break
			}
		}
	}
	return known
}

// described are those of flows that are behind an endpoint.
func (v view) described(q endpoint, flows []conntrack.Flow) iter.Seq2[report.Flow, error] {
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		for i := range flows {
			if r, ok := v.behind(q, &flows[i], now); ok && !yield(r, nil) {
				return
			}
		}
	}
}

// read finds the flows behind an endpoint in dumps, each once. One that the kernel calls
// incomplete is made again while nothing was found.
func (x live) read(ctx context.Context, q endpoint) iter.Seq2[report.Flow, error] {
	t := q.tuple()
	all := []query{{Filter: conntrack.Filter{Reply: t}}, {Filter: conntrack.Filter{Original: t, Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT}}}
	return func(yield func(report.Flow, error) bool) {
		now := time.Now()
		seen := map[conntrack.Tuple]bool{} // a dump may give a flow twice
		for i := range dumps {
			more := true
			err := dump(ctx, x.Conn, all, func(f *conntrack.Flow) bool {
				if r, ok := x.behind(q, f, now); ok && !seen[f.Original] {
					seen[f.Original] = true
					more = yield(r, nil)
				}
				return more
			})
			if errors.Is(err, conntrack.ErrInterrupted) && len(seen) == 0 && i < dumps-1 {
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
func (v view) behind(q endpoint, f *conntrack.Flow, now time.Time) (report.Flow, bool) {
	from, to := v.owners.Ends(f)
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

// none says that nobody was found, and what may be the reason.
func (x live) none(q endpoint, w io.Writer) error {
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
	if _, err := fmt.Fprintf(w, "no %s leaves as %s%s now; the table has %s\n", what, q, to, count(table.Entries)); err != nil {
		return err
	}
	if _, err := os.Stat(natLogDir); err == nil {
		if _, err := fmt.Fprintln(w, "note: the NAT log knows flows that are over: --at TIME"); err != nil {
			return err
		}
	}
	hint, err := x.hint(q.addr)
	if err != nil || hint == "" {
		return err
	}
	_, err = fmt.Fprintf(w, "note: %s is %s\n", q.addr, hint)
	return err
}

// hint says what keeps an address from being an egress address, if anything does.
func (v view) hint(a netip.Addr) (string, error) {
	if o := v.owners.Find(a); o != nil {
		pod := report.Clean(o.Pod())
		return fmt.Sprintf("the own address of %s, whose flows may leave as another: masq-cni inspect flows --pod %s", pod, pod), nil
	}
	names, err := holders(a)
	if err != nil {
		return "", err
	}
	if _, here := names[a]; here {
		return "", nil
	}
	return "neither an address of the node nor of an attachment", nil
}

func count(flows uint32) string {
	if flows == 1 {
		return "1 flow"
	}
	return fmt.Sprint(flows, " flows")
}
