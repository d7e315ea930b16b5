package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestDaemonFollowsAddAndDel adds and deletes a node's only container while masqd is
// stopped. When masqd continues, it receives events of the rules and of the record in
// either order. It must not remove rules whose record it has not read yet as unexpected,
// nor repair rules whose record was deleted.
func TestDaemonFollowsAddAndDel(t *testing.T) {
	const times = 40
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	d := w.daemon()
	held := func(f func()) {
		t.Helper()
		assert.NoError(t, d.Suspend())
		f()
		assert.NoError(t, d.Resume())
	}
	knows := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("masqd knows %d attachments", n), func() bool { return d.metric("masq_attachments") == fmt.Sprint(n) })
	}
	var p *pod
	for i := range times {
		held(func() { p = w.attach(fmt.Sprintf("c%d", i), list) })
		knows(1)
		if err := p.tryCheck(list); err != nil {
			t.Fatalf("ADD %d: %s", i, describe(err))
		}
		held(p.detach)
		knows(0)
	}
	if n := d.repairs(); n != 0 {
		t.Errorf("masqd made %v repairs although nothing was damaged", n)
	}
	said := string(assert.Must(os.ReadFile(d.log))(t))
	for _, word := range []string{"repaired", "unexpected"} {
		if strings.Contains(said, word) {
			t.Errorf("masqd logs %q", word)
		}
	}
	// The control: real damage is repaired.
	w.attach("damaged", list)
	knows(1)
	until(t, "masqd repairs the table", func() bool {
		// masqd makes a table that it misses in the sync of a new record as a change of the
		// records, and not as a repair.
		_ = w.Node.Command(soon(t), "nft", "delete", "table", "inet", "masq").Run()
		return d.repairs() > 0
	})
	d.end()
}
