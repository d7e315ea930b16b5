package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	churned     = 3_000 // attachments that stay
	churnRate   = 100   // calls of the plugin per second
	churnTime   = 20 * time.Second
	churnRepair = 250 // milliseconds
)

// busy measures masqd on a node with many attachments and many calls.
func (b *bench) busy(ctx context.Context) (section, error) {
	s := section{
		title: "masqd while containers come and go",
		note: fmt.Sprintf("The plugin is called %d times per second in chained mode, ADD and DEL, for %s, on a node with %d attachments, which are records. "+
			"Processor time covers all threads of masqd, from the scheduler: a fifth of a core is %.0f ms per call. "+
			"Repairs are timed from the change to its repair, polled each millisecond.", churnRate, churnTime, churned, 1000.0/5/churnRate),
	}
	return s.of(ctx, b.churn)
}

// churn measures masqd while containers come and go: its processor time per call of the plugin, and
// its concurrent repairs.
func (b *bench) churn(ctx context.Context) (rows []row, err error) {
	d, err := b.daemonOn(ctx, churned)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	pods, err := b.site.pods(1)
	if err != nil {
		return nil, err
	}
	defer b.site.giveBack(pods)
	if err := rest(ctx, 3*time.Second); err != nil { // it returns memory to the kernel
		return nil, err
	}
	fullBefore, err := d.metric("masq_full_syncs_total")
	if err != nil {
		return nil, err
	}
	before, err := d.spent()
	if err != nil {
		return nil, err
	}
	b.progress("masqd with %d calls per second, %d attachments", churnRate, churned)
	begun, done := time.Now(), make(chan struct{})
	var calls, unready atomic.Int64
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = d.calls(ctx, filepath.Join(b.masq, "masq"), pods[0], done, &calls) })
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if r, err := d.client.Get("http://" + metricsAt + "/readyz"); err != nil || r.Body.Close() != nil || r.StatusCode != http.StatusOK {
				unready.Add(1)
			}
		}
	})
	element, rule, err := d.repairs(ctx, begun.Add(churnTime))
	close(done)
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := d.spent()
	if err != nil {
		return nil, err
	}
	fullAfter, err := d.metric("masq_full_syncs_total")
	if err != nil {
		return nil, err
	}
	per := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	n := float64(calls.Load())
	rows = []row{
		{what: fmt.Sprintf("churn, %d attachments: calls a second", churned), show: per, values: sample{n / took.Seconds()}},
		{what: "processor time of masqd for a call", show: millis, values: sample{(after - before).Seconds() * 1e3 / n}, target: target{1000.0 / 5 / churnRate, atMost, median}},
		{what: "comparisons of the whole table", show: per, values: sample{fullAfter - fullBefore}, target: target{1, atMost, median}},
		{what: "answers of /readyz other than 200", show: per, values: sample{float64(unready.Load())}, target: target{0, atMost, median}},
	}
	rows = append(rows, limits("repair in churn, one element deleted", element, churnRepair, churnRepair)...)
	return append(rows, limits("repair in churn, an unexpected rule", rule, churnRepair, churnRepair)...), nil
}

// calls has the plugin add and remove attachments in chained mode at a steady rate until done.
func (d *masqd) calls(ctx context.Context, plugin string, pod *nstest.NS, done <-chan struct{}, n *atomic.Int64) error {
	pace := time.NewTicker(time.Second / churnRate)
	defer pace.Stop()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	defer wg.Wait()
	for i := 0; ; i++ {
		select {
		case <-done:
			wg.Wait()
			return errors.Join(errs...)
		case <-pace.C:
		}
		if i%2 == 1 {
			continue // this tick is for the DEL of the call before
		}
		wg.Go(func() {
			for _, verb := range []string{"ADD", "DEL"} {
				if err := d.call(ctx, plugin, pod, verb, i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
				n.Add(1)
			}
		})
	}
}

func (d *masqd) call(ctx context.Context, plugin string, pod *nstest.NS, verb string, i int) error {
	addr := netip.AddrFrom4([4]byte{10, 79, byte(i >> 8), byte(i)}) // with the same policy as the attachments that stay
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"churn","type":"masq","stateDir":%q,"prevResult":{"cniVersion":"1.1.0",
		"interfaces":[{"name":"uplink"},{"name":"eth0","sandbox":%q}],"ips":[{"address":"%s/12","interface":1}]}}`, d.state(), pod.Path(), addr)
	cmd := exec.CommandContext(ctx, plugin)
	cmd.Env = []string{"CNI_COMMAND=" + verb, fmt.Sprintf("CNI_CONTAINERID=%064x", 1<<20+i), "CNI_NETNS=" + pod.Path(), "CNI_IFNAME=eth0", "CNI_PATH=" + filepath.Dir(plugin)}
	cmd.Stdin = strings.NewReader(conf)
	return d.Do(func() error {
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", verb, err, out)
		}
		return nil
	})
}

// repairs deletes an element of an attachment that stays and adds a rule, in turn, and returns the
// milliseconds of each repair.
func (d *masqd) repairs(ctx context.Context, until time.Time) (element, rule sample, err error) {
	err = d.Do(func() error {
		c, err := nft.Open()
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		e := ruleset.LiveElement{Set: "policy4", Element: ruleset.Element{Key: "10.64.0.2"}}
		for i := 0; time.Now().Before(until); i++ {
			if err := rest(ctx, 200*time.Millisecond); err != nil {
				return err
			}
			if i%2 == 0 {
				if _, err := c.Edit(nil, []ruleset.LiveElement{e}, 0); err != nil {
					return err
				}
				t, err := wait(ctx, func() (bool, error) { _, found, err := c.Element(e.Set, e.Key); return found, err })
				if element = append(element, t); err != nil {
					return fmt.Errorf("the element: %w", err)
				}
				continue
			}
			if err := d.nft(ctx, `insert rule inet masq postrouting counter accept comment "unexpected"`); err != nil {
				return err
			}
			t, err := wait(ctx, func() (bool, error) {
				all, err := c.CountedRules()
				return !slices.ContainsFunc(all, func(r nft.CountedRule) bool { return r.ID == "unexpected" }), err
			})
			if rule = append(rule, t); err != nil {
				return fmt.Errorf("the rule: %w", err)
			}
		}
		return nil
	})
	return element, rule, err
}

// wait returns the milliseconds until f returns true.
func wait(ctx context.Context, f func() (bool, error)) (float64, error) {
	begun := time.Now()
	for {
		ok, err := f()
		switch {
		case err != nil:
			return 0, err
		case ok:
			return time.Since(begun).Seconds() * 1e3, nil
		case time.Since(begun) > time.Minute:
			return 0, errors.New("not repaired within a minute")
		}
		if err := rest(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}
