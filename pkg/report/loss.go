package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// Losses are packets of new flows that were dropped recently, flows that were ended
// early, and the known causes.
type Losses struct {
	NoPort  portpool.RecentLoss `json:"noPort,omitzero"`
	NoRoom  portpool.RecentLoss `json:"noRoom,omitzero"`
	Evicted portpool.RecentLoss `json:"evicted,omitzero"`
	// Exhausted is a group that has no source port left, as PortGroup.String writes it;
	// empty where none is known.
	Exhausted string `json:"exhausted,omitempty"`
	// Full says that the table was seen nearly full within the last five minutes.
	Full bool `json:"full,omitempty"`
}

// Shares of the conntrack table in use from which it is a warning and an error.
const (
	filling    = 0.8
	NearlyFull = 0.9
)

// Share is how much of the table is in use, from 0 to 1.
func (c *ConntrackUse) Share() float64 { return float64(c.Entries) / float64(max(c.Limit, 1)) }

// conntrackTable is the Object of problems with the conntrack table.
const conntrackTable = "conntrack table"

// Problems returns the problems of the conntrack table, and of flows that could not be
// entered.
func (c *ConntrackUse) Problems(l Losses, now time.Time) (all Problems) {
	share := c.Share()
	raise := fmt.Sprintf("masq-cni inspect pods shows whose flows they are; sysctl -w net.netfilter.nf_conntrack_max=%d raises the limit", 2*uint64(c.Limit))
	if share >= filling {
		p := Problem{
			SeverityWarning, KindConntrackFull, conntrackTable,
			fmt.Sprintf("has %d of at most %d entries (%.0f %%); new connections fail when it is full", c.Entries, c.Limit, 100*share), raise,
		}
		if share >= NearlyFull {
			p.Severity = SeverityError
		}
		all.Add(p)
	}
	last := func(r portpool.RecentLoss) string { return "in the last " + span(now.Sub(r.Since)) }
	if l.NoRoom.Count > 0 {
		cause := "it was full"
		if share < NearlyFull && !l.Full && l.Evicted.Count == 0 {
			cause = fmt.Sprintf("it was full for a moment, or the kernel had no memory; now it has %d of at most %d entries", c.Entries, c.Limit)
		}
		all.Add(Problem{
			SeverityWarning, KindPacketsDropped, conntrackTable,
			fmt.Sprintf("%s of new flows dropped %s: %s", Plural(l.NoRoom.Count, "packet"), last(l.NoRoom), cause), raise,
		})
	}
	if l.NoPort.Count > 0 {
		cause := "another flow had their addresses and ports"
		if l.Exhausted != "" {
			cause = "no source port is free of " + l.Exhausted
		}
		all.Add(Problem{
			SeverityWarning, KindPacketsDropped, "source ports",
			fmt.Sprintf("%s of new flows dropped %s: %s", Plural(l.NoPort.Count, "packet"), last(l.NoPort), cause),
			"masq-cni inspect ports shows which pods hold the ports",
		})
	}
	if l.Evicted.Count > 0 {
		all.Add(Problem{
			SeverityWarning, KindFlowsEvicted, conntrackTable,
			fmt.Sprintf("%s ended early %s, to make room in the full table", Plural(l.Evicted.Count, "flow"), last(l.Evicted)), raise,
		})
	}
	return all
}

// Earlier says what was lost since the network namespace began, but not recently; it is
// empty where nothing was.
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
