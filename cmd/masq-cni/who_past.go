package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/report"
)

// natLogDir is where the NAT log is looked for.
const natLogDir = "/var/lib/masq-cni/nat-log"

// past answers from the NAT log.
type past struct {
	dir         string
	from, until time.Time
}

// moments are the forms that a time can be given in, and how long each lasts.
var moments = []struct {
	layout string
	lasts  time.Duration
	today  bool
}{
	{"2006-01-02 15:04:05", time.Second, false},
	{"2006-01-02T15:04:05", time.Second, false},
	{"2006-01-02 15:04", time.Minute, false},
	{"15:04:05", time.Second, true},
	{"15:04", time.Minute, true},
}

// parseMoment understands a time, or how long ago it was: all that the text may mean,
// to the millisecond, which is what the log keeps. Without a zone it is the local one.
func parseMoment(text string, now time.Time) (from, until time.Time, err error) {
	const tick = time.Millisecond
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		if at.Nanosecond() != 0 {
			return at, at.Add(tick), nil
		}
		return at, at.Add(time.Second - tick), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		at := now.Add(-ago)
		return at, at.Add(time.Second), nil
	}
	for _, m := range moments {
		at, err := time.ParseInLocation(m.layout, text, now.Location())
		if err != nil {
			continue
		}
		if m.today {
			y, month, d := now.Date()
			at = at.AddDate(y-at.Year(), int(month-at.Month()), d-at.Day())
		}
		return at, at.Add(m.lasts - tick), nil
	}
	return from, until, fmt.Errorf("--at: %s is no time; give one as 2026-03-01T15:04:05Z, \"2026-03-01 15:04\", 15:04, or 10m for ten minutes ago", masq.Quote(text))
}

// whoWas answers from the log.
func (n *node) whoWas(c *cobra.Command, q endpoint, p past, a answer) error {
	query := natlog.Query{Addr: netip.AddrPortFrom(q.addr, q.port), Proto: q.proto, From: p.from, Until: p.until}
	if q.to.IsValid() {
		query.To = netip.AddrPortFrom(q.to, q.toPort)
	}
	got, err := natlog.Who(c.Context(), p.dir, query)
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
	found, _, failed := showFlows(flowsThatWere(got), q, a)
	if failed != nil {
		return failed
	}
	if err != nil {
		_, _ = fmt.Fprintln(c.ErrOrStderr(), "masq-cni: not all of the log can be read:", err)
	}
	if a.format == "" {
		if err := p.remarks(a, q, got); err != nil {
			return err
		}
	}
	if !found {
		return errFailed
	}
	return nil
}

// remarks says what the log leaves open.
func (p past) remarks(a answer, q endpoint, got *natlog.Answer) error {
	stamp := func(t time.Time) string { return t.Local().Format(time.RFC3339) }
	if len(got.Flows) == 0 {
		if _, err := fmt.Fprintf(a, "no flow left as %s at %s, as far as the log goes\n", q, stamp(p.from)); err != nil {
			return err
		}
	}
	for i := range got.Flows {
		if f := &got.Flows[i]; f.Uncertain {
			if _, err := fmt.Fprintf(a, "note: whether the flow from %s was over by then is not known\n", f.Original.Src); err != nil {
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
		if _, err := fmt.Fprintf(a, "note: from %s to %s %s\n", stamp(g.Began()), stamp(g.Time), lost); err != nil {
			return err
		}
	}
	return nil
}

func flowsThatWere(got *natlog.Answer) iter.Seq2[report.Flow, error] {
	return func(yield func(report.Flow, error) bool) {
		for i := range got.Flows {
			if !yield(flowThatWas(&got.Flows[i]), nil) {
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
	if f.Original.Dst != f.Translated.Dst {
		out.NAT = "snat+dnat"
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
