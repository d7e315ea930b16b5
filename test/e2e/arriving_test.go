package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestDaemonKnowsWhoComesAndGoes: a node's only container comes, and goes, while masqd
// does not get to run. It finds news of the rules and of the record at once, in
// whatever order it comes to read them, and never takes rules without a record for
// foreign, nor a record without rules for damage.
func TestDaemonKnowsWhoComesAndGoes(t *testing.T) {
	const times = 40
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	d := w.daemon()
	held := func(f func()) {
		t.Helper()
		check(t, d.Process.Signal(syscall.SIGSTOP))
		f()
		check(t, d.Process.Signal(syscall.SIGCONT))
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
		t.Errorf("%v differences were taken for damage", n)
	}
	said := string(must(os.ReadFile(d.log))(t))
	for _, word := range []string{"repaired", "foreign", "surplus"} {
		if strings.Contains(said, word) {
			t.Errorf("masqd says %q", word)
		}
	}
	// The control: damage is taken for what it is.
	w.attach("damaged", list)
	knows(1)
	w.nft("delete table inet masq")
	until(t, "masqd repairs the table", func() bool { return d.repairs() > 0 })
	d.end()
}
