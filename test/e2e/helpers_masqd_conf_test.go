package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// ofRules is the code of errors about rules.
const ofRules = 101

// asMasqd locks the records as masqd does, and returns a function that names the helpers that
// it serves.
func (w *world) asMasqd() (lock *store.Lock, serve func(helpers ...string)) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "state")
	records := assert.Must(store.Open(dir))(w.t)
	assert.NoError(w.t, os.MkdirAll(records.Dir(), 0o700))
	lock = assert.Must(records.Lock())(w.t)
	return lock, func(helpers ...string) {
		w.t.Helper()
		assert.NoError(w.t, lock.Publish(func(d *store.Daemon) { d.Helpers = helpers }))
	}
}

// TestHelperWithoutMasqd: ADD fails if masqd does not serve a helper that the network requires.
// It leaves nothing behind. STATUS fails with the same text.
func TestHelperWithoutMasqd(t *testing.T) {
	const remedy = `, or set "helpersRequired": false`
	for _, mode := range []string{"main", "chained"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			p := w.pod("a")
			plain := w.masq()
			if mode == "chained" {
				plain = w.behind().With(keys{"prevResult": keys{
					"cniVersion": "1.1.0", "ips": []any{keys{"address": "10.77.0.5/24"}},
				}})
			}
			with := func(more keys) keys {
				return plain.With(keys{"helpers": keys{"rtsp": []int{}, "ftp": []int{21}}}).With(more)
			}
			before := ""
			fails := func(conf keys, want string) {
				t.Helper()
				for verb, code := range map[string]uint{"ADD": ofRules, "STATUS": cannotAdd} {
					e := w.call(call{verb: verb, id: "a", netns: p.Path(), conf: conf}).refused(code)
					if e.Msg != want || !strings.Contains(e.Details, "helpers: "+filepath.Join(w.dir, "state")) {
						t.Errorf("%s: %s, want %s", verb, describe(&e), want)
					}
					unchanged(t, "left by "+verb, w.traces(), before)
				}
			}
			works := func(conf keys) {
				t.Helper()
				w.call(call{verb: "STATUS", conf: conf}).done(nil)
				w.call(call{verb: "ADD", id: "a", netns: p.Path(), conf: conf}).done(new(types100.Result))
				w.call(call{verb: "DEL", id: "a", netns: p.Path(), conf: conf}).done(nil)
			}
			const stopped = "helper rtsp is by masqd, which is not running: start it" + remedy
			before = w.traces()
			fails(with(nil), stopped)
			// Controls.
			works(plain.With(keys{"helpers": keys{"ftp": []int{21}}}))
			works(with(keys{"helpersRequired": false}))
			works(with(keys{"ipMasq": false}))

			lock, serve := w.asMasqd()
			before = w.traces()
			fails(with(nil), "helper rtsp is by masqd, which does not serve it: see its log"+remedy)
			both := with(keys{"helpers": keys{"talk": []int{518}, "rtsp": []int{554}}})
			fails(both, "helpers rtsp, talk are by masqd, which does not serve them: see its log"+remedy)
			serve("pna", "rtsp")
			works(with(nil))
			before = w.traces()
			fails(both, "helper talk is by masqd, which does not serve it: see its log"+remedy)

			assert.NoError(t, lock.Close())
			before = w.traces()
			fails(with(nil), stopped)
		})
	}
}

// TestHelperOfTheNodeWithoutMasqd: helpers of the node's policy are never required, so that
// containers start while masqd is replaced.
func TestHelperOfTheNodeWithoutMasqd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	d := w.daemon("--config", w.writeConfig("helpers: {rtsp: [554, 8554], talk: []}\n"))
	until(t, "masqd has written the policy", func() bool {
		text, err := os.ReadFile(w.nodePolicyPath())
		return err == nil && strings.Contains(string(text), "rtsp")
	})
	assert.NoError(t, d.Process.Kill())
	_ = d.Wait()
	list := w.conflist("1.1.0", w.masq().With(keys{"helpersRequired": true})) // without a key of a policy
	assert.NoError(t, w.within(w.statusOf(list)))
	a := w.attach("a", list)
	w.seenAs(a, w.V4, w.V4.Node)
	assert.NoError(t, a.tryCheck(list))
	a.detach()
}

// TestHelperNeedsRunningMasqd: a network with a helper by masqd has containers while masqd runs.
// Without masqd no ADD succeeds; containers that exist keep their rules, and can be deleted.
func TestHelperNeedsRunningMasqd(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.masq().With(keys{"helpers": keys{"rtsp": []int{}, "talk": []int{}, "pna": []int{}}}))
	d := w.daemon()
	until(t, "masqd serves the helpers", func() bool { return w.within(w.statusOf(list)) == nil })
	a := w.attach("a", list)
	w.seenAs(a, w.V4, w.V4.Node)

	assert.NoError(t, d.Process.Kill())
	_ = d.Wait()
	for what, err := range map[string]error{"STATUS": w.within(w.statusOf(list)), "ADD": w.pod("b").tryAdd(list)} {
		if err == nil || !strings.Contains(describe(err), "helpers pna, rtsp, talk are by masqd, which is not running: start it") {
			t.Errorf("%s without masqd: %v", what, err)
		}
	}
	w.seenAs(a, w.V4, w.V4.Node)
	assert.NoError(t, a.tryCheck(list))

	w.daemon()
	until(t, "masqd serves the helpers again", func() bool { return w.within(w.statusOf(list)) == nil })
	w.attach("c", list).detach()
	a.detach()
}

// TestHelperOfAnotherOwner: while another program owns a table of the name, masqd serves no
// helper, and no ADD that requires one succeeds.
func TestHelperOfAnotherOwner(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	list := w.conflist("1.1.0", w.helped().With(keys{"helpersRequired": false}))
	required := w.conflist("1.1.0", w.helped())
	other := w.attach("other", list) // a table without helpers must not exist
	h := w.helperTable()
	h.put(ruleset.Sources{}, ruleset.HelperElements{})
	w.daemon("--resync-interval", "1s") // nothing notifies masqd of the other table
	const want = "which does not serve them: see its log"
	until(t, "masqd serves no helper", func() bool {
		err := w.within(w.statusOf(required))
		return err != nil && strings.Contains(describe(err), want)
	})
	if err := w.pod("a").tryAdd(required); err == nil || !strings.Contains(describe(err), want) {
		t.Errorf("ADD: %v", err)
	}
	assert.NoError(t, h.owned.Replace(ruleset.Table{}))
	until(t, "masqd serves the helpers", func() bool { return w.within(w.statusOf(required)) == nil })
	w.redirected(other)
}
