package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/natlog"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// eventBuffer is the room for events that were not read yet, in bytes, as the kernel
// counts them: about 30,000.
const eventBuffer = 64 << 20

// natLogger writes the NAT log: the begin and the end of each flow that is translated
// and an attachment's, or that comes from an address of sourceCIDRs. direct says which
// untranslated flows it has as well.
type natLogger struct {
	log    *natlog.Writer  // nil for none
	export *ipfix.Exporter // nil for none
	events *conntrack.Watcher
	owners owners
	node   func() reconcile.Node
	said   *slog.Logger
	direct directFlows

	record natlog.Record
	lost   uint32
	last   time.Time // of an event
}

// newNATLogger begins to listen. Flows that began before have their end logged.
func newNATLogger(ctx context.Context, o options, c *reconcile.Cache, records *store.Records, node func() reconcile.Node, said *slog.Logger) (_ *natLogger, err error) {
	l := &natLogger{
		node: node, said: said, last: time.Now(), direct: o.natLogDirect,
		owners: owners{snapshot: c.Snapshot, refresh: c.Refresh, read: records.Get, known: map[*store.Record]bool{}, by: map[netip.Addr][]tenure{}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if o.natLog != "" {
		if l.log, err = natlog.Open(o.natLog, o.natLogOptions); err != nil {
			return nil, fmt.Errorf("--nat-log: %w", err)
		}
	}
	if o.collector != (ipfix.Collector{}) {
		if l.export, err = ipfix.Open(ctx, ipfix.Options{Collector: o.collector, Log: said}); err != nil {
			return nil, fmt.Errorf("--nat-log-ipfix: %w", err)
		}
	}
	if l.events, err = conntrack.Watch(conntrack.FlowNew|conntrack.FlowDestroy, eventBuffer); err != nil {
		return nil, err
	}
	for setting, without := range map[string]string{
		"nf_conntrack_timestamp": "the log does not know how long flows last",
		"nf_conntrack_acct":      "the log has no packets and bytes",
	} {
		if b, err := os.ReadFile("/proc/sys/net/netfilter/" + setting); err == nil && strings.TrimSpace(string(b)) == "0" {
			said.Warn("the NAT log is poorer than it could be", "without", "net.netfilter."+setting, "as", without, "mend", "sysctl -w net.netfilter."+setting+"=1")
		}
	}
	return l, nil
}

// run takes events until the context ends.
func (l *natLogger) run(ctx context.Context) error {
	for {
		for e, err := range l.events.Events(ctx) {
			if errors.Is(err, conntrack.ErrOverrun) {
				l.gap()
				break // what did fit the buffer is still there
			}
			if err != nil {
				return err
			}
			l.take(e)
		}
		if ctx.Err() != nil {
			return l.flush() // the daemon may end before a look does, and close comes after that
		}
	}
}

// flush brings away what was taken. Nothing is exported after it.
func (l *natLogger) flush() error {
	if l.export != nil {
		l.export.Close()
	}
	if l.log != nil {
		return l.log.Flush()
	}
	return nil
}

func (l *natLogger) close() (err error) {
	if l.events != nil {
		err = l.events.Close()
	}
	if l.export != nil {
		l.export.Close()
	}
	if l.log != nil {
		err = errors.Join(err, l.log.Close())
	}
	return err
}

// trouble says why nothing can be written or sent, if so.
func (l *natLogger) trouble() (out []string) {
	if l == nil {
		return nil
	}
	if l.log != nil {
		if err := l.log.Stats().Err; err != nil {
			out = append(out, "NAT log: "+err.Error())
		}
	}
	if l.export != nil {
		if err := l.export.Stats().Err; err != nil {
			out = append(out, "IPFIX collector: "+err.Error())
		}
	}
	return out
}

// gap notes events that were lost.
func (l *natLogger) gap() {
	now, lost := time.Now(), l.lost
	if n, err := l.events.Lost(); err == nil {
		l.lost, lost = n, n-lost
	}
	l.write(&natlog.Record{Time: now, Kind: natlog.Gap, Lost: uint64(lost), Duration: now.Sub(l.last)})
	l.said.Warn("the kernel had more flows to tell of than there was room for; the NAT log says so", "events", lost)
	l.last = now
}

func (l *natLogger) take(e *conntrack.Event) {
	f := &e.Flow
	l.last = time.Now()
	if !f.Translated() && (l.direct == directNone || !l.owners.mayBegin(f.Original.Src, l.last) && (l.direct != directAll || !l.source(f.Original.Src))) {
		return
	}
	r := &l.record
	*r = natlog.Record{
		Time: l.last, Kind: natlog.Begin, Proto: f.Original.Proto,
		Original:   natlog.Tuple{Src: netip.AddrPortFrom(f.Original.Src, f.Original.SrcPort), Dst: netip.AddrPortFrom(f.Original.Dst, f.Original.DstPort)},
		Translated: natlog.Tuple{Src: f.Egress(), Dst: netip.AddrPortFrom(f.Reply.Src, f.Reply.SrcPort)},
	}
	if t := &f.Original; t.ID != 0 || t.Type != 0 { // ICMP has an ID in place of a port
		r.Original.Src = netip.AddrPortFrom(t.Src, t.ID)
		r.Translated.Src = netip.AddrPortFrom(r.Translated.Src.Addr(), f.Reply.ID)
		r.ICMP = uint16(t.Type)<<8 | uint16(t.Code)
	}
	if e.Time != 0 {
		r.Time = time.Unix(0, e.Time)
	}
	if e.Kind == conntrack.FlowDestroy {
		r.Kind = natlog.End
		r.Packets = [2]uint64{f.OriginalCounters.Packets, f.ReplyCounters.Packets}
		r.Bytes = [2]uint64{f.OriginalCounters.Bytes, f.ReplyCounters.Bytes}
		if f.Has(conntrack.HasTimestamps) && f.Start != 0 && f.Stop >= f.Start {
			r.Time, r.Duration = time.Unix(0, f.Stop), time.Duration(f.Stop-f.Start)
		}
	}
	// How long ago it began, by a clock that is set, on one that is not.
	owner, ours := l.owners.at(f.Original.Src, l.last.Add(-max(0, l.last.Sub(r.Began()))))
	if !ours && !l.source(f.Original.Src) {
		return
	}
	if !f.Translated() && l.direct == directOptedOut && !owner.optedOut {
		return
	}
	r.Owner = owner.Owner
	l.write(r)
}

// write logs and exports a record. The log and the exporter count records that they drop.
func (l *natLogger) write(r *natlog.Record) {
	if l.log != nil {
		if err := l.log.Append(r); err != nil && !errors.Is(err, natlog.ErrLost) {
			l.said.Error("cannot log a flow", "err", err)
		}
	}
	if l.export != nil {
		if err := l.export.Append(r); err != nil && !errors.Is(err, ipfix.ErrLost) {
			l.said.Error("cannot export a flow", "err", err)
		}
	}
}

// source reports whether an address is of a pod that another plugin wired.
func (l *natLogger) source(a netip.Addr) bool {
	return slices.ContainsFunc(l.node().Sources.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
