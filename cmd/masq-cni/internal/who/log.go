package who

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/netip"
	"time"

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

// natLogDir is the default directory of the NAT log.
const natLogDir = "/var/lib/masq-cni/nat-log"

// log searches the NAT log for the flows of a time.
type log struct {
	node        *node.Node
	dir         string
	from, until time.Time
	scrapes     masqd.Scrapes
	stderr      io.Writer
}

func (l *log) search(ctx context.Context, q endpoint, w output.Writer) error {
	if records, err := store.Open(l.node.StateDir); err == nil {
		l.scrapes.ReadPorts(records.LockPath())
	}
	query := natlog.Query{Addr: netip.AddrPortFrom(q.addr, q.port), Proto: q.proto, From: l.from, Until: l.until}
	if q.to.IsValid() {
		query.To = netip.AddrPortFrom(q.to, q.toPort)
	}
	answer, err := natlog.Find(ctx, l.dir, query)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no NAT log in %s; masqd writes one with --nat-log; if it is in another directory, give --nat-log here too", masq.Quote(l.dir))
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w; give the directory of the log with --nat-log", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w; run as root", err)
	}
	if err != nil && (answer == nil || len(answer.Flows) == 0) {
		return err
	}
	found, _, errWrite := writeFlows(each(l.scrapes.Filter(flowsOf(answer))), q, w, report.PastFlowColumns(time.Local))
	if errWrite != nil {
		return errWrite
	}
	if err != nil {
		_, _ = fmt.Fprintln(l.stderr, "masq-cni: a part of the log cannot be read:", err)
	}
	if w.Format == "" {
		if err := l.writeNotes(w, q, answer); err != nil {
			return err
		}
	}
	if !found {
		return exitcode.ErrFailed
	}
	return nil
}

// writeNotes writes what the log does not tell.
func (l *log) writeNotes(w io.Writer, q endpoint, answer *natlog.Answer) (err error) {
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	stamp := func(t time.Time) string { return t.Local().Format(time.RFC3339) }
	if len(answer.Flows) == 0 {
		when := "at " + stamp(l.from)
		if l.until.Sub(l.from) > time.Second {
			when = "from " + stamp(l.from) + " to " + stamp(l.until)
		}
		line("no flow left as %s %s, according to the log", q, when)
	}
	for i := range answer.Flows {
		if f := &answer.Flows[i]; f.Uncertain {
			line("note: the log does not tell whether the flow from %s had ended by then", f.Original.Src)
		}
	}
	for i := range answer.Gaps {
		g := &answer.Gaps[i]
		lost := "no records were written"
		switch {
		case g.Lost == 1:
			lost = "1 record is missing"
		case g.Lost > 1:
			lost = fmt.Sprintf("%d records are missing", g.Lost)
		}
		line("note: from %s to %s %s", stamp(g.Began()), stamp(g.Time), lost)
	}
	if note := l.scrapes.Note(); note != "" {
		line("note: %s", note)
	}
	return err
}

// flowsOf converts the flows of an answer.
func flowsOf(answer *natlog.Answer) []report.Flow {
	out := make([]report.Flow, len(answer.Flows))
	for i := range answer.Flows {
		out[i] = flowOf(&answer.Flows[i])
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

func flowOf(f *natlog.Flow) report.Flow {
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
		NAT: "snat", State: "open", // until an end is found
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
			out.Duration = report.Seconds(max(0, f.End.Sub(f.Begin))) // the clock may have been set back
		}
	}
	return out
}
