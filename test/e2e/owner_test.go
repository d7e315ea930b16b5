package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// owner is another program that owns table inet masq for as long as it runs.
type owner struct {
	*nstest.Command
	in io.WriteCloser
}

func (w *world) owner() *owner {
	w.t.Helper()
	o := &owner{Command: w.Node.Command(w.t.Context(), "nft", "-i")}
	o.in = assert.Must(o.StdinPipe())(w.t)
	assert.NoError(w.t, o.Start())
	_, err := io.WriteString(o.in, "add table inet masq { flags owner; }\n")
	assert.NoError(w.t, err)
	until(w.t, "the table has an owner", func() bool {
		out, err := w.Node.Command(w.t.Context(), "nft", "list", "table", "inet", "masq").CombinedOutput()
		return err == nil && strings.Contains(string(out), "owner")
	})
	return o
}

func (o *owner) end(t testing.TB) {
	t.Helper()
	assert.NoError(t, o.in.Close())
	assert.NoError(t, o.Wait())
}

// says reports whether a text names the owner, its process, and the remedy.
func (o *owner) says(text string) bool {
	return strings.Contains(text, "table inet masq") && strings.Contains(text, "belongs to another program") &&
		strings.Contains(text, fmt.Sprintf("process %d (nft)", o.Process.Pid)) && strings.Contains(text, fmt.Sprintf("kill %d", o.Process.Pid))
}

// TestTableOfAnotherOwner: an ADD fails with a clear error and without a trace, in both
// modes, if the table belongs to another program. STATUS reports it before.
func TestTableOfAnotherOwner(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	ptp := w.masq().With(keys{"type": "ptp", "stateDir": nil})
	for name, plugins := range map[string][]keys{"main": {w.masq()}, "chained": {ptp, w.behind()}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			list := w.conflist("1.1.0", plugins...)
			o := w.owner()
			before := w.traces()
			p := w.pod("a-" + name)
			err := p.tryAdd(list)
			var failed *types.Error
			if !errors.As(err, &failed) || failed.Code != 101 || !o.says(failed.Details) {
				t.Errorf("ADD: %s", describe(errors.Join(err, errors.New(""))))
			}
			if name == "chained" {
				assert.NoError(t, p.tryDel(list)) // removes what the other plugin of the chain has made
			}
			if after := w.traces(); after != before {
				t.Errorf("before ADD:\n%s\nafter:\n%s", before, after)
			}
			for range 2 {
				assert.NoError(t, p.tryDel(list))
			}
			if err := w.within(w.statusOf(list)); !errors.As(err, &failed) || failed.Code != 50 || !o.says(failed.Msg) {
				t.Errorf("STATUS: %s", describe(errors.Join(err, errors.New(""))))
			}
			o.end(t)
			assert.NoError(t, w.within(w.statusOf(list))) // control
			p.attach(list)
			p.detach()
		})
	}
}

// TestDaemonMeetsAnotherOwner: masqd reports a table that belongs to another program, retries
// slowly, and makes its own table when the other program ends. DEL succeeds in between.
func TestDaemonMeetsAnotherOwner(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	a, b := w.attach("a", list), w.attach("b", list)
	d := w.daemon()
	assert.NoError(t, d.Suspend()) // otherwise masqd would be faster than the other program
	w.nft("delete table inet masq")
	o := w.owner()
	assert.NoError(t, d.Resume())
	until(t, "/readyz names the owner", func() bool {
		code, text := d.get("/readyz")
		return code == http.StatusServiceUnavailable && o.says(text)
	})
	n, text, exit := w.health()
	if x := n.Problems[0]; x.Kind != report.KindTableOwned || exit != 1 || !o.says(x.Advice()) || !strings.HasPrefix(text, n.Verdict) {
		t.Errorf("inspect: exit code %d, %+v\n%s", exit, n.Problems, text)
	}
	until(t, "it counts errors", func() bool {
		n := d.metric(`masq_netlink_errors_total{part="rules"}`)
		return n != "" && n != "0"
	})
	b.detach()
	o.end(t)
	until(t, "masqd makes its table", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK && a.tryCheck(list) == nil })
	for _, plan := range w.Plans() {
		w.seenAs(a, plan, plan.Node)
	}
	d.end()
	if n := strings.Count(d.said(), "cannot bring the kernel into agreement"); n != 1 {
		t.Errorf("the log says %d times that the table cannot be changed", n)
	}
}

// TestTableOfSameName: ADD turns a table that another program made under the same name into
// the managed table, whatever it contains.
func TestTableOfSameName(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	for _, c := range []struct{ name, rules string }{
		{"dormant", "add table inet masq { flags dormant; }"},
		{"set", "add table inet masq; add set inet masq policy4 { type inet_service; }"},
		{"map", "add table inet masq; add map inet masq policy6 { type ipv6_addr : ipv4_addr; }"},
		{"chain", "add table inet masq; add chain inet masq postrouting; add rule inet masq postrouting accept"},
		{"other hook", "add table inet masq; add chain inet masq postrouting { type filter hook input priority 0; policy drop; }"},
		{"policy drop", "add table inet masq; add chain inet masq forward { type filter hook forward priority mangle; policy drop; }"},
		{"object", "add table inet masq; add counter inet masq ftp-tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			w.nodeRun("nft", c.rules)
			defer func() { w.nodeRun("nft", "add table inet masq; delete table inet masq") }()
			p := w.attach("c-"+strings.ReplaceAll(c.name, " ", "-"), list)
			for _, plan := range w.Plans() {
				w.seenAs(p, plan, plan.Node)
			}
			assert.NoError(t, p.tryCheck(list))
			p.detach()
		})
	}
}
