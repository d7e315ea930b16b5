package report

import (
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/portpool"
)

// TestConntrackProblems: a problem has the proven cause, and a command that shows more.
func TestConntrackProblems(t *testing.T) {
	lost := func(n uint64) portpool.RecentLoss {
		return portpool.RecentLoss{Count: n, Since: noon.Add(-2 * time.Minute), Last: noon}
	}
	const (
		raise = "; masq-cni inspect pods shows whose flows they are; raise the limit: sysctl -w net.netfilter.nf_conntrack_max=2000"
		ports = "; masq-cni inspect ports shows which pods hold the ports"
	)
	for what, tt := range map[string]struct {
		entries  uint32
		losses   Losses
		severity Severity
		want     string
	}{
		"nothing":                     {},
		"room":                        {entries: 799},
		"80 %":                        {800, Losses{}, SeverityWarning, "conntrack table has 800 of at most 1000 entries (80 %); new connections fail when it is full" + raise},
		"90 %":                        {900, Losses{}, SeverityError, "conntrack table has 900 of at most 1000 entries (90 %); new connections fail when it is full" + raise},
		"no room, with room now":      {10, Losses{NoRoom: lost(3)}, SeverityWarning, "conntrack table dropped 3 packets of new flows in the last 2m0s: it was full for a moment, or the kernel had no memory; now it has 10 of at most 1000 entries" + raise},
		"no room, full before":        {10, Losses{NoRoom: lost(1), Full: true}, SeverityWarning, "conntrack table dropped 1 packet of new flows in the last 2m0s: it was full" + raise},
		"another flow had the port":   {10, Losses{NoPort: lost(3)}, SeverityWarning, "source ports were in use; the kernel dropped 3 packets of new flows in the last 2m0s: another flow had their addresses and ports" + ports},
		"no port, of a group":         {10, Losses{NoPort: lost(3), Exhausted: "192.0.2.2 for tcp to 198.51.100.2:443"}, SeverityWarning, "source ports were in use; the kernel dropped 3 packets of new flows in the last 2m0s: 192.0.2.2 for tcp to 198.51.100.2:443 has no free source port" + ports},
		"flows ended to make room":    {10, Losses{Evicted: lost(1)}, SeverityWarning, "conntrack table was full; the kernel ended 1 flow early in the last 2m0s, to make room" + raise},
		"a group without loss is not": {10, Losses{Exhausted: "192.0.2.2 for tcp to 198.51.100.2:443"}, "", ""},
	} {
		c := ConntrackUse{Entries: tt.entries, Limit: 1000}
		all := c.Problems(tt.losses, noon)
		switch {
		case tt.want == "" && len(all) != 0, tt.want != "" && len(all) != 1:
			t.Errorf("%s: %+v", what, all)
		case tt.want != "" && (all[0].Advice() != tt.want || all[0].Severity != tt.severity):
			t.Errorf("%s: %s %q", what, all[0].Severity, all[0].Advice())
		}
	}
	// A full table is the cause if packets are dropped now.
	c := ConntrackUse{Entries: 1000, Limit: 1000}
	if all := c.Problems(Losses{NoRoom: lost(2), NoPort: lost(1)}, noon); len(all) != 3 || all[1].Message != "dropped 2 packets of new flows in the last 2m0s: it was full" {
		t.Errorf("%+v", all)
	}
	if all := (&ConntrackUse{}).Problems(Losses{}, noon); len(all) != 0 {
		t.Errorf("without a limit: %+v", all)
	}
}

// TestEarlierLosses: Earlier omits recent losses.
func TestEarlierLosses(t *testing.T) {
	c := ConntrackUse{InsertFailed: 3, ChainTooLong: 1, Drop: 7, EarlyDrop: 1}
	for want, l := range map[string]Losses{
		"2 packets dropped because another flow had their addresses and ports, 5 packets dropped because the conntrack table was full, 1 flow ended early because the conntrack table was full": {},
		"5 packets dropped because the conntrack table was full": {NoPort: portpool.RecentLoss{Count: 1}, Evicted: portpool.RecentLoss{Count: 1}},
	} {
		if got := c.Earlier(l); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := (&ConntrackUse{}).Earlier(Losses{}); got != "" {
		t.Errorf("%q", got)
	}
}
