package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// patience bounds waits for conditions that hold at once unless something is broken.
const patience = 10 * time.Second

var countersOf = regexp.MustCompile(`packets \d+ bytes \d+`)

// uncounted removes the values that change with traffic from traces.
func uncounted(traces string) string { return countersOf.ReplaceAllString(traces, "packets N") }

// ofOthers lists the objects of other programs on the node.
func (w *world) ofOthers() string {
	w.t.Helper()
	var b strings.Builder
	for _, table := range []string{"inet neighbour", "ip nat", "inet outward"} {
		b.WriteString(w.nodeRun("nft", append([]string{"list", "table"}, strings.Fields(table)...)...))
	}
	for _, link := range []string{"vethother", "veth0123456789a"} {
		b.WriteString(w.nodeRun("ip", "-d", "link", "show", link))
		b.WriteString(w.nodeRun("ip", "address", "show", link))
	}
	b.WriteString(w.nodeRun("ip", "route", "show", "table", "77"))
	b.WriteString(w.nodeRun("ip", "rule"))
	return b.String()
}

// settleOthers creates the objects that ofOthers lists.
func (w *world) settleOthers() {
	w.t.Helper()
	w.nft(`
table inet neighbour {
	set hosts { type ipv4_addr; elements = { 10.88.0.2, 10.88.0.3 }; }
	map policy4 { type ipv4_addr : verdict; elements = { 10.88.0.2 comment "net/a/eth0" : accept }; }
	chain forward { type filter hook forward priority mangle; policy accept; ip saddr @hosts counter; ip saddr vmap @policy4; }
	chain policy-0123456789ab { counter comment "policy/egress"; }
}
table ip nat {
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 172.17.0.0/16 counter masquerade; }
}
table inet outward {
	chain postrouting { comment "postrouting/policy4"; }
}
`)
	w.nodeRun("ip", "link", "add", "vethother", "type", "veth", "peer", "name", "veth0123456789a")
	w.nodeRun("ip", "link", "set", "veth0123456789a", "alias", "someone else's")
	for _, link := range []string{"vethother", "veth0123456789a"} {
		w.nodeRun("ip", "link", "set", link, "addrgenmode", "none") // the kernel would add an address at an unknown time
	}
	w.nodeRun("ip", "address", "add", "10.44.0.1/24", "dev", "vethother")
	w.nodeRun("ip", "link", "set", "vethother", "up")
	w.nodeRun("ip", "link", "set", "veth0123456789a", "up")
	w.nodeRun("ip", "route", "add", "10.45.0.0/16", "via", "10.44.0.7", "table", "77")
	w.nodeRun("ip", "rule", "add", "from", "10.44.0.0/24", "lookup", "77", "priority", "1077")
}

// variants are configurations of networks that need different rules.
func (w *world) variants() []*libcni.NetworkConfigList {
	w.t.Helper()
	return []*libcni.NetworkConfigList{
		w.namedConflist("plain", "1.1.0", w.masqOn("10.90.0.0/16")),
		w.namedConflist("ftp", "1.1.0", w.masqOn("10.91.0.0/16").With(keys{"helpers": keys{"ftp": []int{21, 2121}}})),
		w.namedConflist("narrow", "1.1.0", w.masqOn("10.92.0.0/16").With(keys{"mssClamp": 1300, "mssClamps": keys{"198.51.100.0/24": 1200}, "nonMasqueradeCIDRs": []string{"10.0.0.0/8"}})),
		w.namedConflist("named", "1.1.0", w.masqOn("10.93.0.0/16").With(keys{"snatAddresses": []string{w.V4.Node.String()}, "toPorts": "20000-29999"})),
	}
}

// errorsOf calls f for each number below n, atOnce calls at a time, and joins the errors.
func errorsOf(n, atOnce int, f func(int) error) error {
	var (
		wg   sync.WaitGroup
		next = make(chan int)
		all  = make([]error, n)
	)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				all[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(all...)
}

// TestChurn adds and deletes containers, eight at a time. Another container and the
// objects of other programs stay, and are not affected. Nothing else remains.
func TestChurn(t *testing.T) {
	const containers, atOnce = 200, 8
	w := newWorld(t, nstest.Uplink{})
	w.settleOthers()
	others, alone := uncounted(w.ofOthers()), uncounted(w.traces())

	list := w.conflist("1.1.0", w.masq())
	steady := w.attach("steady", list)
	before := uncounted(w.traces())
	outside := assert.Must(w.Server.Capture("eth0", isPing))(t)
	stop := w.pingOn(steady, w.V4)

	variants := w.variants()
	pods := w.pods(containers)
	assert.NoError(t, errorsOf(containers, atOnce, func(i int) error {
		p, list := pods[i], variants[i%len(variants)]
		if err := p.tryAdd(list); err != nil {
			return fmt.Errorf("ADD %d: %s", i, describe(err))
		}
		if i%10 == 0 {
			if err := p.tryCheck(list); err != nil {
				return fmt.Errorf("CHECK %d: %s", i, describe(err))
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if r, err := p.Ping(ctx, w.V4.Server, nstest.PingOptions{}); err != nil || !r.Reply() {
				return fmt.Errorf("ping %d: %+v, %w", i, r, err)
			}
		}
		if i == containers/2 {
			return p.Close() // for some, DEL is called after the namespace is gone
		}
		return nil
	}))
	during := w.traces()
	for i := range containers { // control: every container has had elements
		if name := fmt.Sprintf("/c%d/eth0", i); !strings.Contains(during, name) {
			t.Errorf("no element of %s", name)
		}
	}
	assert.NoError(t, errorsOf(containers, atOnce, func(i int) error {
		if err := pods[i].tryDel(variants[i%len(variants)]); err != nil {
			return fmt.Errorf("DEL %d: %s", i, describe(err))
		}
		return nil
	}))
	unchanged(t, "remaining after all DELs", uncounted(w.traces()), before)

	// ADD and DEL concurrently: policies are removed while other attachments need them.
	assert.NoError(t, errorsOf(containers/3, atOnce, func(i int) error {
		p, list := pods[i], variants[i%len(variants)]
		if err := p.tryAdd(list); err != nil {
			return fmt.Errorf("ADD %d among DELs: %s", i, describe(err))
		}
		if err := p.tryCheck(list); err != nil {
			return fmt.Errorf("CHECK %d among DELs: %s", i, describe(err))
		}
		if err := p.tryDel(list); err != nil {
			return fmt.Errorf("DEL %d among ADDs: %s", i, describe(err))
		}
		return nil
	}))
	unchanged(t, "left after ADDs and DELs", uncounted(w.traces()), before)

	asked, err := stop()
	if err != nil {
		t.Errorf("the container that stayed lost an answer after %d: %v", asked, err)
	}
	t.Logf("%d pings of the container that stayed", asked)
	if asked < 20 {
		t.Errorf("only %d pings", asked)
	}
	for _, q := range packets(t, outside) {
		if q.Src != w.V4.Node {
			t.Errorf("a packet arrived with the address of a container: %v", q)
		}
	}
	assert.NoError(t, steady.tryCheck(list))
	steady.detach()
	unchanged(t, "remaining after the last DEL", uncounted(w.traces()), alone)
	unchanged(t, "of others", uncounted(w.ofOthers()), others)
	// The control: ofOthers shows a change to the table of another program.
	w.nft("add element inet neighbour hosts { 10.88.0.4 }")
	if uncounted(w.ofOthers()) == others {
		t.Error("ofOthers does not show a change to the table of another program")
	}
}

// TestChurnOfTheLast: each container may be the first or the last on its node, so the
// table is created and deleted repeatedly.
func TestChurnOfTheLast(t *testing.T) {
	const containers, atOnce = 96, 8
	w := newWorld(t, nstest.Uplink{})
	before := w.traces()
	variants := w.variants()
	pods := w.pods(containers)
	assert.NoError(t, errorsOf(containers, atOnce, func(i int) error {
		p, list := pods[i], variants[i%len(variants)]
		if err := p.tryAdd(list); err != nil {
			return fmt.Errorf("ADD %d: %s", i, describe(err))
		}
		checked := p.tryCheck(list)
		if err := p.tryDel(list); err != nil {
			return fmt.Errorf("DEL %d: %s", i, describe(err))
		}
		if checked != nil {
			return fmt.Errorf("CHECK %d: %s", i, describe(checked))
		}
		return nil
	}))
	unchanged(t, "left behind", w.traces(), before)
}

// shows reports whether other processes can observe a step: a message to the kernel, or
// a file that is created or removed.
func shows(step string) bool {
	return strings.HasPrefix(step, "send") || strings.HasPrefix(step, "rename") || strings.HasPrefix(step, "unlink")
}

// TestInterleaved stops ADD and DEL of one container before each such step, adds or
// deletes another container, and then continues the first. Both must have their desired
// state at the end, in whatever order they ran.
func TestInterleaved(t *testing.T) {
	features := keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300}
	for _, test := range []struct {
		name  string
		verbs [2]string
		first keys // of the first container; the second has all features
	}{
		{"ADD meets ADD", [2]string{"ADD", "ADD"}, features},
		{"ADD meets DEL", [2]string{"ADD", "DEL"}, features},
		{"DEL meets ADD", [2]string{"DEL", "ADD"}, features},
		{"DEL meets DEL", [2]string{"DEL", "DEL"}, features},
		{"plain ADD meets DEL", [2]string{"ADD", "DEL"}, nil},
		{"plain DEL meets DEL", [2]string{"DEL", "DEL"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			verbs := test.verbs
			w := newWorld(t, nstest.Uplink{})
			before := w.traces()
			// Their policies differ, and may need the same objects of the table. Two networks do
			// not wait for each other's leases.
			calls := [2]call{
				{id: "first", netns: w.pod("first").Path(), conf: w.masqOn("10.90.0.0/16").With(test.first).With(keys{"name": "one"})},
				{id: "second", netns: w.pod("second").Path(), conf: w.masqOn("10.91.0.0/16").With(features).With(keys{"name": "two"})},
			}
			as := func(c call, verb string) call {
				c.verb = verb
				return c
			}
			met := 0
			for ; ; met++ {
				results := [2]keys{{}, {}}
				for i, c := range calls {
					if verbs[i] == "DEL" {
						w.call(as(c, "ADD")).done(&results[i])
					}
				}
				var second reply
				step, first := w.stopBefore(as(calls[0], verbs[0]), met, shows, func(func()) {
					second = w.call(as(calls[1], verbs[1]))
				})
				if step == "" {
					for _, c := range calls {
						w.call(as(c, "DEL")).done(nil)
					}
					break
				}
				for i, r := range []reply{first, second} {
					if r.t = t; verbs[i] == "DEL" {
						r.done(nil)
						continue
					}
					r.done(&results[i])
					c := as(calls[i], "CHECK")
					c.conf = c.conf.With(keys{"prevResult": results[i]})
					w.call(c).done(nil)
				}
				for i, c := range calls {
					if verbs[i] == "ADD" {
						w.call(as(c, "DEL")).done(nil)
					}
				}
				unchanged(t, fmt.Sprintf("remaining after the second ran before step %d of the first, %s", met, step), w.traces(), before)
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("met at %d steps", met)
			if met < 10 { // control
				t.Errorf("only %d steps were interleaved", met)
			}
		})
	}
}

// pingOn has a container ping continuously until stop is called. stop returns the number
// of answers, and the error if an answer was missing.
func (w *world) pingOn(p *pod, plan nstest.Plan) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(w.t.Context())
	type result struct {
		answers int
		err     error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		pace := time.NewTicker(5 * time.Millisecond) // leaves the processor to the containers that come and go
		defer pace.Stop()
		for ctx.Err() == nil {
			<-pace.C
			// A separate timeout: a ping that stop interrupts has not failed.
			one, over := context.WithTimeout(context.WithoutCancel(ctx), patience)
			answer, err := p.Ping(one, plan.Server, nstest.PingOptions{})
			over()
			if err == nil && !answer.Reply() {
				err = fmt.Errorf("answered by %+v", answer)
			}
			if err != nil {
				r.err = err
				break
			}
			r.answers++
		}
		done <- r
	}()
	return func() (int, error) {
		cancel()
		r := <-done
		return r.answers, r.err
	}
}

// TestThirtyAtOnce: a node that starts passes all its containers to the plugin at once,
// when neither table nor records exist.
func TestThirtyAtOnce(t *testing.T) {
	const containers = 30
	w := newWorld(t, nstest.Uplink{})
	before := w.traces()
	list := w.conflist("1.1.0", w.masq())
	pods := w.pods(containers)
	start := make(chan struct{})
	each := func(f func(p *pod) error) {
		t.Helper()
		var ready sync.WaitGroup
		ready.Add(containers)
		go func() {
			ready.Wait()
			close(start)
		}()
		assert.NoError(t, errorsOf(containers, containers, func(i int) error {
			ready.Done()
			<-start
			if err := f(pods[i]); err != nil {
				return fmt.Errorf("c%d: %s", i, describe(err))
			}
			return nil
		}))
		start = make(chan struct{})
	}
	each(func(p *pod) error { return p.tryAdd(list) })
	each(func(p *pod) error { return p.tryCheck(list) })
	seen := map[netip.Addr]string{}
	for _, p := range pods {
		for _, plan := range w.Plans() {
			a := p.addr(plan.Server)
			if other := seen[a]; other != "" {
				t.Errorf("%s and %s both have %s", other, p.Name(), a)
			}
			seen[a] = p.Name()
		}
	}
	for _, p := range []*pod{pods[0], pods[containers-1]} {
		for _, plan := range w.Plans() {
			w.seenAs(p, plan, plan.Node)
		}
	}
	// The control: CHECK fails only for the container whose element was deleted.
	w.nft("delete element inet masq policy4 { %s }", pods[7].addr(w.V4.Server))
	for i, p := range pods {
		if err := p.tryCheck(list); (err == nil) == (i == 7) {
			t.Errorf("CHECK of c%d: %v", i, err)
		}
	}
	each(func(p *pod) error { return p.tryDel(list) })
	unchanged(t, "left behind", w.traces(), before)
}
