package e2e

import (
	"fmt"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestUntranslatedFlowsWhenAnotherMakesTheTable deletes the table while masqd is stopped,
// and the ADD of another container makes it again. A flow that began without the table is
// translated after SIGCONT. Control: without masqd the flow stays untranslated.
func TestUntranslatedFlowsWhenAnotherMakesTheTable(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	w.knowPods()
	// Another program tracks connections while the table is missing, as kube-proxy does.
	w.nft("add table inet other { chain c { type filter hook forward priority 0; ct state established accept; }; }")
	l, list := w.listener(), w.conflist("1.1.0", w.masq())
	p := w.attach("a", list)
	both := func() (flows []*conversation) {
		for _, plan := range w.Plans() {
			flows = append(flows, l.converse(p.NS, "udp", plan.Server))
		}
		return flows
	}
	// untranslated deletes the table, begins flows, makes the table by an ADD, and returns the
	// flows.
	untranslated := func(newcomer string) []*conversation {
		w.nft("delete table inet masq")
		flows := both()
		for _, c := range flows {
			if c.as.Addr() != p.addr(c.as.Addr()) {
				t.Fatalf("%v: it is translated without a table", c)
			}
		}
		w.attach(newcomer, list)
		for i, c := range both() {
			if c.as.Addr() != w.Plans()[i].Node {
				t.Fatalf("%v: the ADD has not made the table", c)
			}
		}
		return flows
	}
	control := untranslated("b")
	wantAllSame("without masqd", control...)

	d := w.daemon("--resync-interval", "1h")
	d.counts(gapTotal, fmt.Sprint(len(control)))
	for i, c := range control {
		c.wantNew("masqd has started", w.Plans()[i].Node)
	}
	before := both()
	assert.NoError(t, d.Suspend())
	flows := untranslated("c")
	wantAllSame("masqd is stopped", flows...)
	assert.NoError(t, d.Resume())
	d.counts(gapTotal, fmt.Sprint(len(control)+len(flows)))
	for i, c := range flows {
		c.wantNew("masqd has continued", w.Plans()[i].Node)
	}
	wantAllSame("translated flows", before...)
	d.end()
}
