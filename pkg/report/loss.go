package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// Losses has recently dropped packets of new flows, flows that the kernel ended early, and
// the causes.
type Losses struct {
	NoPort  portpool.RecentLoss `json:"noPort,omitzero"`
	NoRoom  portpool.RecentLoss `json:"noRoom,omitzero"`
	Evicted portpool.RecentLoss `json:"evicted,omitzero"`
	// Exhausted is PortGroup.String of a group without a free source port, or "".
	Exhausted string `json:"exhausted,omitempty"`
	// Full is true if the table was nearly full within the last five minutes.
	Full bool `json:"full,omitempty"`
}

// conntrackWarning and ConntrackCritical are the shares of the conntrack table in use from
// which Problems returns a warning and an error.
const (
	conntrackWarning  = 0.8
	ConntrackCritical = 0.9
)

// Share returns the share of the table in use, from 0 to 1.
func (c *ConntrackUse) Share() float64 { return float64(c.Entries) / float64(max(c.Limit, 1)) }

// conntrackTable is Problem.Object for the conntrack table.
const conntrackTable = "conntrack table"

// Problems returns problems with the size of the conntrack table, and with flows that could
// not be added to it.
func (c *ConntrackUse) Problems(l Losses, now time.Time) (all Problems) {
	share := c.Share()
	raise := func(more ...Evidence) Cause {
		size := []Evidence{{"net.netfilter.nf_conntrack_count", fmt.Sprint(c.Entries)}, {"net.netfilter.nf_conntrack_max", fmt.Sprint(c.Limit)}}
		return Cause{Evidence: append(more, size...), Remedy: Remedy{
			"masq-cni inspect pods shows whose flows they are; raise the limit",
			[]string{fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*uint64(c.Limit))},
		}}
	}
	statistic := func(name string, since uint64) Evidence {
		return Evidence{name + " of the conntrack statistics", fmt.Sprint(since)}
	}
	if share >= conntrackWarning {
		p := NewProblem(
			SeverityWarning, KindConntrackFull, conntrackTable,
			fmt.Sprintf("has %d of at most %d entries (%.0f %%); new connections fail when it is full", c.Entries, c.Limit, 100*share), raise(),
		)
		if share >= ConntrackCritical {
			p.Severity = SeverityError
		}
		all.Add(p)
	}
	last := func(r portpool.RecentLoss) string { return "in the last " + span(now.Sub(r.Since)) }
	if l.NoRoom.Count > 0 {
		cause := "it was full"
		if share < ConntrackCritical && !l.Full && l.Evicted.Count == 0 {
			cause = fmt.Sprintf("it was full for a moment, or the kernel had no memory; now it has %d of at most %d entries", c.Entries, c.Limit)
		}
		all.Add(NewProblem(
			SeverityWarning, KindPacketsDropped, conntrackTable,
			fmt.Sprintf("dropped %s of new flows %s: %s", Plural(l.NoRoom.Count, "packet"), last(l.NoRoom), cause), raise(statistic("drop", c.Drop)),
		))
	}
	if l.NoPort.Count > 0 {
		cause := "another flow had their addresses and ports"
		if l.Exhausted != "" {
			cause = l.Exhausted + " has no free source port"
		}
		all.Add(NewProblem(
			SeverityWarning, KindPacketsDropped, "source ports",
			fmt.Sprintf("were in use; the kernel dropped %s of new flows %s: %s", Plural(l.NoPort.Count, "packet"), last(l.NoPort), cause),
			Cause{Evidence: []Evidence{statistic("insert_failed", c.InsertFailed)}, Remedy: Remedy{Text: "masq-cni inspect ports shows which pods hold the ports"}},
		))
	}
	if l.Evicted.Count > 0 {
		all.Add(NewProblem(
			SeverityWarning, KindFlowsEvicted, conntrackTable,
			fmt.Sprintf("was full; the kernel ended %s early %s, to make room", Plural(l.Evicted.Count, "flow"), last(l.Evicted)), raise(statistic("early_drop", c.EarlyDrop)),
		))
	}
	return all
}

// Earlier describes the losses since the network namespace was created, except the kinds of
// losses that l has: these are recent. It returns "" if there are none.
func (c *ConntrackUse) Earlier(l Losses) string {
	since := portpool.LossesOf([]conntrack.Statistics{{InsertFailed: c.InsertFailed, ChainTooLong: c.ChainTooLong, Drop: c.Drop, EarlyDrop: c.EarlyDrop}})
	var out []string
	if n := since.NoPort; n > 0 && l.NoPort.Count == 0 {
		out = append(out, Plural(n, "packet")+" dropped because another flow had their addresses and ports")
	}
	if n := since.NoRoom; n > 0 && l.NoRoom.Count == 0 {
		out = append(out, Plural(n, "packet")+" dropped because the conntrack table was full")
	}
	if n := since.Evicted; n > 0 && l.Evicted.Count == 0 {
		out = append(out, Plural(n, "flow")+" ended early because the conntrack table was full")
	}
	return strings.Join(out, ", ")
}
