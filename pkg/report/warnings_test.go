package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestEvaluate: each problem and note appears with its cause, and not without it.
func TestEvaluate(t *testing.T) {
	well := func() (Node, []store.Record) {
		n := Node{
			Time: Time{noon}, Daemon: Daemon{Running: true, Expected: true},
			Table: &Table{Exists: true, Desired: true}, Conntrack: &ConntrackUse{Entries: 1, Limit: 100, Accounting: true, Timestamps: true},
		}
		n.Attachments.Total = 1
		return n, records()[:2]
	}
	for what, spoil := range map[string]func(*Node, *[]store.Record){
		"":                                  func(*Node, *[]store.Record) {},
		"table inet masq does not exist":    func(n *Node, _ *[]store.Record) { n.Table.Exists = false },
		"desired state in 1 place: traffic": func(n *Node, _ *[]store.Record) { n.Table.Drift = 1 },
		"masqd is not running":              func(n *Node, _ *[]store.Record) { n.Daemon.Running = false },
		"masqd is not in use":               func(n *Node, _ *[]store.Record) { n.Daemon = Daemon{} },
		"masqd works in another network namespace (process 4711)":            func(n *Node, _ *[]store.Record) { n.Daemon.Elsewhere, n.Daemon.PID = true, 4711 },
		"shop/web has had an incomplete ADD or DEL in network pods for 2m0s": func(_ *Node, r *[]store.Record) { (*r)[0].Ready, (*r)[0].Created = false, noon.Add(-2*time.Minute) },
		"10.88.0.2 belongs to two attachments, shop/web and x":               func(_ *Node, r *[]store.Record) { *r = append(*r, record("xxxx", "", "", nil, "10.88.0.2")) },
		"has 80 of at most 100 entries":                                      func(n *Node, _ *[]store.Record) { n.Conntrack.Entries = 80 },
		"5 packets dropped because":                                          func(n *Node, _ *[]store.Record) { n.Conntrack.Drop = 5 },
		"ended early":                                                        func(n *Node, _ *[]store.Record) { n.Conntrack.EarlyDrop = 5 },
		"nf_conntrack_acct=1":                                                func(n *Node, _ *[]store.Record) { n.Conntrack.Accounting = false },
		"nf_conntrack_timestamp=1":                                           func(n *Node, _ *[]store.Record) { n.Conntrack.Timestamps = false },
	} {
		n, r := well()
		spoil(&n, &r)
		n.Evaluate(r)
		for _, p := range n.Problems {
			if p.Severity == "" || p.Kind == "" || p.Object == "" || p.Remedy == "" {
				t.Errorf("the problem is incomplete: %+v", p)
			}
		}
		if n.Healthy != (n.Problems.Worst() != SeverityError) || what == "" && n.Verdict != "healthy" || what != "" && len(n.Problems) > 0 && n.Verdict == "healthy" {
			t.Errorf("%q: healthy %t, %q", what, n.Healthy, n.Verdict)
		}
		all := slices.Concat(n.Warnings, n.Notes)
		if what == "" && len(all) != 0 || what != "" && (len(all) != 1 || !strings.Contains(all[0], what)) {
			t.Errorf("%q: %q", what, all)
		}
	}
	// A running ADD is no problem.
	n, r := well()
	r[0].Ready, r[0].Created = false, noon.Add(-time.Second)
	if n.Evaluate(r); len(n.Warnings) != 0 {
		t.Errorf("%q", n.Warnings)
	}
}
