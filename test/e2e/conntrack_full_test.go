package e2e

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestConntrackTableFull: /readyz and inspect report a nearly full conntrack table, and
// packets that were dropped while it was full. masqd stays ready. The messages name the
// table, not ports, and end when the table has room again.
func TestConntrackTableFull(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "p", w.masq())
	server := assert.Must(w.Server.ServeUDP(at(w.V4.Server, 53)))(t)
	limit := int(assert.Must(w.table())(t).Limit)
	d := w.daemon()
	reasons := func() []string {
		t.Helper()
		code, body := d.get("/readyz")
		var r readinessDetail
		if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 || !r.Ready {
			t.Fatalf("%d %s, %v", code, body, err)
		}
		return slices.DeleteFunc(r.Reasons, func(s string) bool { return !strings.HasPrefix(s, "conntrack table ") })
	}
	if got := reasons(); len(got) != 0 {
		t.Errorf("with an empty table: %q", got)
	}
	w.fill(limit - 1000)
	if got := reasons(); len(got) != 1 || !strings.Contains(got[0], "new connections fail when it is full") || !strings.Contains(got[0], "nf_conntrack_max") {
		t.Errorf("with a nearly full table: %q", got)
	}
	problems := func() (out []report.Kind) {
		t.Helper()
		for _, p := range inspect[report.Node](w).Problems {
			out = append(out, p.Kind)
		}
		return out
	}
	if got := problems(); !slices.Contains(got, report.KindConntrackFull) {
		t.Errorf("inspect with a nearly full table: %v", got)
	}
	// Requests to masqd need table entries too, so it is asked when the table has room again.
	have := int(assert.Must(w.table())(t).Entries)
	w.fillFrom(limit-1000, limit-1000+limit-have)
	c := assert.Must(p.Dial(soon(t), "udp", netip.AddrPort{}, server.Addr()))(t)
	g := w.gauge(t)
	until(t, "packets are dropped", func() bool {
		_, err := c.Write([]byte("x"))
		assert.NoError(t, err)
		return conntrack.Sum(assert.Must(g.conn.Statistics(t.Context()))(t)).Drop > 0
	})
	assert.NoError(t, w.Node.Command(soon(t), "conntrack", "-F").Run())
	got := reasons()
	if len(got) != 1 || !strings.Contains(got[0], " dropped ") || !strings.Contains(got[0], " of new flows in the last ") || !strings.Contains(got[0], ": it was full;") || !strings.Contains(got[0], "masq-cni inspect pods") {
		t.Errorf("with an empty table again: %q", got)
	}
	if got := problems(); !slices.Equal(got, []report.Kind{report.KindPacketsDropped}) {
		t.Errorf("inspect with an empty table again: %v", got)
	}
	// A command that has just started cannot know of the drops without masqd.
	d.end()
	if got := problems(); !slices.Equal(got, []report.Kind{report.KindDaemonStopped}) {
		t.Errorf("inspect without masqd: %v", got)
	}
	var notes []string
	for _, n := range inspect[report.Node](w).Notes {
		if strings.Contains(n, "because the conntrack table was full") {
			notes = append(notes, n)
		}
	}
	if len(notes) != 1 {
		t.Errorf("inspect lacks the packets that were dropped before: %q", notes)
	}
}
