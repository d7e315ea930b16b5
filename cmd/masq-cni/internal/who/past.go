package who

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/exitcode"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/masqd"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/output"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// natLogDir is where the NAT log is looked for.
const natLogDir = "/var/lib/masq-cni/nat-log"

// past answers from the NAT log.
type past struct {
	dir         string
	from, until time.Time
}

// whoWas answers from the log.
func whoWas(c *cobra.Command, n *node.Node, q endpoint, p past, hidden masqd.Scrapes, w output.Writer) error {
	if records, err := store.Open(n.StateDir); err == nil {
		hidden.ReadPorts(records.LockPath())
	}
	query := natlog.Query{Addr: netip.AddrPortFrom(q.addr, q.port), Proto: q.proto, From: p.from, Until: p.until}
	if q.to.IsValid() {
		query.To = netip.AddrPortFrom(q.to, q.toPort)
	}
	got, err := natlog.Find(c.Context(), p.dir, query)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no NAT log at %s; masqd writes one with --nat-log, and --nat-log says here where", masq.Quote(p.dir))
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w; --nat-log says which directory the log is in", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w; run as root", err)
	}
	if err != nil && (got == nil || len(got.Flows) == 0) {
		return err
	}
	found, _, failed := showFlows(each(hidden.Filter(flowsThatWere(got))), q, w, report.PastFlowColumns(time.Local))
	if failed != nil {
		return failed
	}
	if err != nil {
		_, _ = fmt.Fprintln(c.ErrOrStderr(), "masq-cni: not all of the log can be read:", err)
	}
	if w.Format == "" {
		if err := p.remarks(w, q, got); err != nil {
			return err
		}
		if note := hidden.Note(); note != "" {
			if _, err := fmt.Fprintln(w, "note:", note); err != nil {
				return err
			}
		}
	}
	if !found {
		return exitcode.ErrFailed
	}
	return nil
}

// remarks says what the log leaves open.
func (p past) remarks(w output.Writer, q endpoint, got *natlog.Answer) error {
	stamp := func(t time.Time) string { return t.Local().Format(time.RFC3339) }
	if len(got.Flows) == 0 {
		if _, err := fmt.Fprintf(w, "no flow left as %s at %s, as far as the log goes\n", q, stamp(p.from)); err != nil {
			return err
		}
	}
	for i := range got.Flows {
		if f := &got.Flows[i]; f.Uncertain {
			if _, err := fmt.Fprintf(w, "note: whether the flow from %s was over by then is not known\n", f.Original.Src); err != nil {
				return err
			}
		}
	}
	for i := range got.Gaps {
		g := &got.Gaps[i]
		lost := "nobody wrote"
		if g.Lost > 0 {
			lost = fmt.Sprintf("%d records are missing", g.Lost)
		}
		if _, err := fmt.Fprintf(w, "note: from %s to %s %s\n", stamp(g.Began()), stamp(g.Time), lost); err != nil {
			return err
		}
	}
	return nil
}

func flowsThatWere(got *natlog.Answer) []report.Flow {
	out := make([]report.Flow, len(got.Flows))
	for i := range got.Flows {
		out[i] = flowThatWas(&got.Flows[i])
	}
	return out
}

func each(flows []report.Flow) iter.Seq2[report.Flow, error] {
	return func(yield func(report.Flow, error) bool) {
		for i := range flows {
			if !yield(flows[i], nil) {
				return
			}
		}
	}
}

func flowThatWas(f *natlog.Flow) report.Flow {
	tuple := func(t natlog.Tuple) report.Tuple {
		out := report.Tuple{Source: t.Src.Addr(), Destination: t.Dst.Addr(), DestinationPort: t.Dst.Port()}
		if f.Proto == unix.IPPROTO_ICMP || f.Proto == unix.IPPROTO_ICMPV6 {
			out.ICMP.ID = t.Src.Port()
		} else {
			out.SourcePort = t.Src.Port()
		}
		return out
	}
	out := report.Flow{
		Owner:    report.OwnerOf(masq.Attachment{Key: f.Owner.Key, Pod: f.Owner.Pod}),
		Protocol: report.Protocol(f.Proto), Original: tuple(f.Original), Translated: tuple(f.Translated),
		NAT: "snat", State: "open", // a flow without an end may live
		Packets: report.Sides{Original: f.Packets[0], Reply: f.Packets[1]},
		Bytes:   report.Sides{Original: f.Bytes[0], Reply: f.Bytes[1]},
	}
	if out.Owner != (report.Owner{}) {
		out.Direction = report.Out
	}
	source, destination := f.Original.Src != f.Translated.Src, f.Original.Dst != f.Translated.Dst
	switch {
	case source && destination:
		out.NAT = "snat+dnat"
	case destination:
		out.NAT = "dnat"
	case !source: // it left with the container's own address
		out.NAT = "none"
	}
	if !f.Begin.IsZero() {
		out.Begin = report.Time{Time: f.Begin.UTC()}
	}
	if !f.End.IsZero() {
		out.End, out.State = report.Time{Time: f.End.UTC()}, "closed"
		if !f.Begin.IsZero() {
			out.Duration = report.Seconds(max(0, f.End.Sub(f.Begin))) // clocks are set, also back
		}
	}
	return out
}
