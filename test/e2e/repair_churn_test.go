package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// comeAndGo adds and removes containers with several workers until end, and returns the
// number of calls.
func (w *world) comeAndGo(list *libcni.NetworkConfigList, workers int) (end func() int) {
	w.t.Helper()
	pods, stop := w.pods(workers), make(chan struct{})
	var wg sync.WaitGroup
	calls := make([]int, workers)
	for i, p := range pods {
		wg.Go(func() {
			for {
				if err := p.tryAdd(list); err != nil {
					w.t.Errorf("ADD: %s", describe(err))
					return
				}
				if err := p.tryDel(list); err != nil {
					w.t.Errorf("DEL: %s", describe(err))
					return
				}
				calls[i] += 2
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	return func() (n int) {
		close(stop)
		wg.Wait()
		for _, c := range calls {
			n += c
		}
		return n
	}
}

// repaired returns how many differences of a kind masqd has repaired.
func (d *daemon) repaired(kind string) int {
	n, _ := strconv.Atoi(d.metric(`masq_repairs_total{kind="` + kind + `"}`))
	return n
}

// TestRepairsDuringChurn: while containers come and go, masqd repairs what another program
// changes, and nothing else: no element of an ordinary ADD or DEL. It never reads the whole
// table for that. An ADD may delete an unexpected rule in a base chain before masqd sees it;
// a rule in the chain clamp is left to masqd.
func TestRepairsDuringChurn(t *testing.T) {
	const rounds = 5
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	live := w.attach("live", list)
	w.attach("another", list)
	address := live.addr(w.V4.Server).String()
	d := w.daemon("--resync-interval", "1h")
	full := d.metric("masq_full_syncs_total")
	if full == "" {
		t.Fatal("masqd does not count full syncs")
	}
	end := w.comeAndGo(list, 3)
	for range rounds {
		w.nft("delete element inet masq policy4 { %s }", address)
		until(t, "the element is restored", func() bool { return w.hasElement(address) })
		w.nft(`insert rule inet masq clamp counter accept comment "theirs"`)
		until(t, "the rule is removed", func() bool {
			return !strings.Contains(w.nodeRun("nft", "list", "chain", "inet", "masq", "clamp"), "theirs")
		})
		if code, text := d.get("/readyz"); code != http.StatusOK {
			t.Errorf("readyz: %d %s", code, text)
		}
	}
	calls := end()
	until(t, "masqd knows only the two live attachments", func() bool { return d.metric("masq_attachments") == "2" })
	until(t, "masqd has counted its repairs", func() bool { return d.repaired("element") >= rounds && d.repaired("rule") >= rounds })
	if elements, rules := d.repaired("element"), d.repaired("rule"); elements != rounds || rules != rounds {
		t.Errorf("%d elements and %d rules are repaired during %d calls, want %d of each", elements, rules, calls, rounds)
	}
	if now := d.metric("masq_full_syncs_total"); now != full {
		t.Errorf("the whole table was read %s times, %s before %d calls", now, full, calls)
	}
	if calls < 2*rounds {
		t.Errorf("only %d calls, so the test proves nothing", calls)
	}
	d.end()
}

// TestStoppedDaemon: changes while masqd is stopped are repaired when it continues, with
// complete notifications and after lost ones.
func TestStoppedDaemon(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq())
	live := w.attach("live", list)
	address := live.addr(w.V4.Server).String()
	d := w.daemon("--resync-interval", "1h")
	for _, overrun := range []bool{false, true} {
		t.Run(fmt.Sprintf("overrun %t", overrun), func(t *testing.T) {
			lost := d.metric("masq_events_lost_total")
			assert.NoError(t, d.Suspend())
			if overrun {
				// More notifications than the socket holds.
				var b strings.Builder
				b.WriteString("table inet noise { set s { type ipv4_addr; }; }\n")
				for i := range 40 {
					b.WriteString("flush set inet noise s\nadd element inet noise s { ")
					for j := range 4096 {
						fmt.Fprintf(&b, "10.%d.%d.%d,", i, j>>8, j&255)
					}
					b.WriteString(" }\n")
				}
				script := filepath.Join(w.dir, "noise")
				assert.NoError(t, os.WriteFile(script, []byte(b.String()), 0o600))
				w.nodeRun("nft", "-f", script)
			}
			end := w.comeAndGo(list, 2)
			w.nft("delete element inet masq policy4 { %s }", address)
			end()
			assert.NoError(t, d.Resume())
			until(t, "the element is restored", func() bool { return w.hasElement(address) })
			if now := d.metric("masq_events_lost_total"); (now != lost) != overrun {
				t.Errorf("lost %s times, %s before", now, lost)
			}
			until(t, "masqd knows one attachment", func() bool { return d.metric("masq_attachments") == "1" })
			if code, text := d.get("/readyz"); code != http.StatusOK {
				t.Errorf("readyz: %d %s", code, text)
			}
		})
	}
	d.end()
}
