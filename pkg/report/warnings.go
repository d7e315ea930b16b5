package report

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// nearlyFull is the share of the conntrack table from which a node is warned of.
const nearlyFull = 0.8

// settling is how long an ADD or a DEL may reasonably take.
const settling = time.Minute

// Judge adds the warnings and notes that follow from the rest of the report.
func (n *Node) Judge(records []store.Record) {
	warn := func(format string, args ...any) { n.Warnings = append(n.Warnings, fmt.Sprintf(format, args...)) }
	note := func(format string, args ...any) { n.Notes = append(n.Notes, fmt.Sprintf(format, args...)) }
	if t := n.Table; t != nil {
		switch {
		case t.Wanted && !t.Exists:
			warn("there is no table inet masq: traffic leaves untranslated; start masqd, which makes it")
		case t.Drift > 0:
			warn("the kernel has not what was asked for, %s; see masq-cni inspect drift", plural(t.Drift, "difference"))
		}
	}
	switch {
	case n.Daemon.Running && n.Daemon.Elsewhere:
		note("masqd works in another network namespace: what is changed here stays changed")
	case !n.Daemon.Running && n.Attachments.Total > 0:
		note("masqd is not running: nobody puts back rules that others take away")
	}
	for _, r := range records {
		if age := n.Time.Sub(r.Created); !r.Ready && age > settling {
			warn("%s of %s is not ready since %s: its ADD or DEL was killed; DEL, GC or masqd clears it away",
				Sentence(OwnerOf(r.Attachment).Pod()), Sentence(r.Network), age.Round(time.Second))
		}
	}
	n.claims(records, warn)
	c := n.Conntrack
	if c == nil {
		return
	}
	if c.Limit > 0 && float64(c.Entries) >= nearlyFull*float64(c.Limit) {
		warn("the conntrack table is nearly full, %d of %d: new connections will fail; raise net.netfilter.nf_conntrack_max", c.Entries, c.Limit)
	}
	if c.Drop > 0 {
		warn("packets dropped, as their flow could not be entered: %d; the table was full, or no source port was free", c.Drop)
	}
	if c.EarlyDrop > 0 {
		warn("flows ended early, to make room in a full table: %d", c.EarlyDrop)
	}
	if !c.Accounting {
		note("packets and bytes of flows are not counted; sysctl net.netfilter.nf_conntrack_acct=1 counts those that begin from then on")
	}
	if !c.Timestamps {
		note("when flows began is not kept; sysctl net.netfilter.nf_conntrack_timestamp=1 keeps it of those that begin from then on")
	}
}

// claims warns of addresses that two attachments have: the later one is taken to be
// behind all flows.
func (n *Node) claims(records []store.Record, warn func(string, ...any)) {
	holders := map[netip.Addr]store.Record{}
	for _, r := range records {
		for _, a := range r.Addresses {
			if was, ok := holders[a]; ok {
				warn("%s is claimed by %s and by %s: the later one, the last named, has it",
					a, Sentence(OwnerOf(was.Attachment).Pod()), Sentence(OwnerOf(r.Attachment).Pod()))
			}
			holders[a] = r
		}
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
