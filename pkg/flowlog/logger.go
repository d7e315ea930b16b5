package flowlog

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/ipfix"
	"github.com/masq-cni/masq-cni/pkg/leasehistory"
	"github.com/masq-cni/masq-cni/pkg/natlog"
)

// eventBuffer is the size in bytes of the socket buffer for unread events. As the kernel
// counts, it has room for about 30,000 events.
const eventBuffer = 64 << 20

// Options are what a Logger logs, and where.
type Options struct {
	// Writer and Exporter receive the records. One that is nil is not used. The Logger
	// closes them.
	Writer   *natlog.Writer
	Exporter *ipfix.Exporter
	// Leases has the attachment that had an address at a given time.
	Leases *leasehistory.History
	// Sources returns sourceCIDRs: the prefixes of containers that other plugins attached.
	Sources func() []netip.Prefix
	// Direct selects which untranslated flows are logged.
	Direct DirectFlows
	// Proxied returns the client of a flow that a program of the node began for a container,
	// by the flow's protocol and source; ok is false for other flows. The flow is logged as the client's.
	// Proxied may be nil.
	Proxied func(proto uint8, source netip.AddrPort) (client netip.AddrPort, ok bool)
	Log     *slog.Logger
}

// Logger writes the NAT log.
type Logger struct {
	Options
	events *conntrack.Watcher

	record    natlog.Record
	lost      uint32    // the kernel's count of lost events, as of the last gap
	lastEvent time.Time // when the last event was received
}

// Open subscribes to conntrack's events. The ends of flows that began earlier are logged.
// If Open fails, the Writer and the Exporter are closed.
func Open(o Options) (*Logger, error) {
	l := &Logger{Options: o, lastEvent: time.Now()}
	events, err := conntrack.Watch(conntrack.FlowNew|conntrack.FlowDestroy, eventBuffer)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.events = events
	l.warnOfSettings()
	return l, nil
}

// warnOfSettings logs which sysctls are off without which the kernel reports less about
// flows.
func (l *Logger) warnOfSettings() {
	for _, s := range []struct{ setting, effect string }{
		{"nf_conntrack_timestamp", "the NAT log has no duration of flows"},
		{"nf_conntrack_acct", "the NAT log has no packets and bytes of flows"},
	} {
		b, err := os.ReadFile("/proc/sys/net/netfilter/" + s.setting)
		if err == nil && strings.TrimSpace(string(b)) == "0" {
			l.Log.Warn("a sysctl is off", "sysctl", "net.netfilter."+s.setting, "effect", s.effect, "remedy", "sysctl -w net.netfilter."+s.setting+"=1")
		}
	}
}

// Run logs events until the context ends. It returns after all records are written.
func (l *Logger) Run(ctx context.Context) error {
	for {
		for e, err := range l.events.Events(ctx) {
			if errors.Is(err, conntrack.ErrOverrun) {
				l.logGap()
				break // the buffer still holds the events before the overrun
			}
			if err != nil {
				return err
			}
			l.add(e)
		}
		if ctx.Err() != nil {
			return l.flush() // masqd may exit before Close
		}
	}
}

// flush writes and sends all records. Nothing is exported after it.
func (l *Logger) flush() error {
	if l.Exporter != nil {
		l.Exporter.Close()
	}
	if l.Writer != nil {
		return l.Writer.Flush()
	}
	return nil
}

// Close ends the subscription, and closes the Writer and the Exporter.
func (l *Logger) Close() (err error) {
	if l.events != nil {
		err = l.events.Close()
	}
	if l.Exporter != nil {
		l.Exporter.Close()
	}
	if l.Writer != nil {
		err = errors.Join(err, l.Writer.Close())
	}
	return err
}

// Faults returns the reasons why records cannot be written or sent at present. A nil Logger
// has none.
func (l *Logger) Faults() (out []string) {
	if l == nil {
		return nil
	}
	if l.Writer != nil {
		if err := l.Writer.Stats().Err; err != nil {
			out = append(out, "NAT log: "+err.Error())
		}
	}
	if l.Exporter != nil {
		if err := l.Exporter.Stats().Err; err != nil {
			out = append(out, "IPFIX collector: "+err.Error())
		}
	}
	return out
}

// logGap adds a record for events that the kernel dropped.
func (l *Logger) logGap() {
	now, lost := time.Now(), uint32(0) // 0: their number is unknown
	if n, err := l.events.Lost(); err == nil {
		l.lost, lost = n, n-l.lost
	}
	l.write(&natlog.Record{Time: now, Kind: natlog.Gap, Lost: uint64(lost), Duration: now.Sub(l.lastEvent)})
	l.Log.Warn("the kernel dropped conntrack events because the socket buffer was full; the NAT log has a gap", "events", lost)
	l.lastEvent = now
}

// add logs the flow of an event, if it is to be logged.
func (l *Logger) add(e *conntrack.Event) {
	f := &e.Flow
	l.lastEvent = time.Now()
	client, proxied := l.clientOf(f)
	if !proxied && !f.Translated() && !l.mayLogDirect(f) {
		return
	}
	r := &l.record
	*r = recordOf(e, l.lastEvent)
	if proxied {
		r.Original.Src = client
	}
	// The kernel takes the start of a flow from the wall clock, which can be set. So the
	// flow's age is subtracted from the monotonic clock.
	lease, found := l.Leases.At(r.Original.Src.Addr(), l.lastEvent.Add(-max(0, l.lastEvent.Sub(r.Began()))))
	if !found && !l.isSource(r.Original.Src.Addr()) {
		return
	}
	if !proxied && !f.Translated() && l.Direct == DirectOptedOut && !lease.OptedOut {
		return
	}
	r.Owner = natlog.Owner{Key: lease.Key, Pod: lease.Pod}
	l.write(r)
}

// clientOf returns the client for which a program of the node began a flow.
func (l *Logger) clientOf(f *conntrack.Flow) (client netip.AddrPort, ok bool) {
	if l.Proxied == nil {
		return client, false
	}
	return l.Proxied(f.Original.Proto, netip.AddrPortFrom(f.Original.Src, f.Original.SrcPort))
}

// mayLogDirect reports whether an untranslated flow may have to be logged. Most
// untranslated flows are of the node and of other hosts.
func (l *Logger) mayLogDirect(f *conntrack.Flow) bool {
	switch {
	case l.Direct == DirectNone:
		return false
	case l.Leases.Known(f.Original.Src, l.lastEvent):
		return true
	}
	return l.Direct == DirectAll && l.isSource(f.Original.Src)
}

// isSource reports whether another plugin gave an address to a container.
func (l *Logger) isSource(a netip.Addr) bool {
	return slices.ContainsFunc(l.Sources(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// write logs and exports a record. The Writer and the Exporter count records that they lose.
func (l *Logger) write(r *natlog.Record) {
	if l.Writer != nil {
		if err := l.Writer.Append(r); err != nil && !errors.Is(err, natlog.ErrLost) {
			l.Log.Error("cannot log a flow", "err", err)
		}
	}
	if l.Exporter != nil {
		if err := l.Exporter.Append(r); err != nil && !errors.Is(err, ipfix.ErrLost) {
			l.Log.Error("cannot export a flow", "err", err)
		}
	}
}

// recordOf returns the record of an event without its owner. now is its time if the
// kernel gives none.
func recordOf(e *conntrack.Event, now time.Time) natlog.Record {
	f := &e.Flow
	r := natlog.Record{
		Time: now, Kind: natlog.Begin, Proto: f.Original.Proto,
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
	return r
}
