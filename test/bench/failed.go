package main

import (
	"context"
	"fmt"
)

// failing are the reasons of failing ADDs: scripts that run in the container before.
var failing = []struct{ name, script string }{
	{"the interface exists", "ip link add eth0 type veth peer name eth1"},
	{"the default route exists", "ip link add v0 type veth peer name v1; ip address add 10.1.0.1/24 dev v0; ip link set v0 up; ip link set v1 up; ip route add default via 10.1.0.2"},
}

// failedAtOnce is the number of ADDs that fail concurrently.
const failedAtOnce = 8

// failed compares an ADD that fails, and undoes everything before it returns, with an ADD that
// succeeds, one by one and several at once.
func (b *bench) failed(ctx context.Context) (section, error) {
	s := section{
		title: "ADD that fails",
		note: fmt.Sprintf("Everything is undone when ADD returns. An existing interface is detected before a link is made. An existing default route is detected "+
			"afterwards, so the link must be deleted, for which the kernel waits 16 to 32 ms. %d rounds, in turn with an ADD that succeeds.", b.steps),
	}
	n, err := b.site.node("failed")
	if err != nil {
		return s, err
	}
	net := b.masqOn(n, dual)
	pods, err := b.site.pods(1 + failedAtOnce*(1+len(failing)))
	if err != nil {
		return s, err
	}
	// The table and its policy stay.
	if err := inTurn(ctx, net.attachments(pods[:1]), "ADD"); err != nil {
		return s, err
	}
	works := net.attachments(pods[1 : 1+failedAtOnce])
	var fails [][]*attachment
	for i, f := range failing {
		all := net.attachments(pods[1+failedAtOnce*(1+i):][:failedAtOnce])
		for _, a := range all {
			a.fails = true
			if out, err := a.pod.Command(ctx, "sh", "-c", f.script).CombinedOutput(); err != nil {
				return s, fmt.Errorf("%s: %w\n%s", f.script, err, out)
			}
		}
		fails = append(fails, all)
	}
	for _, size := range []int{1, failedAtOnce} {
		rounds := b.steps
		if size > 1 {
			rounds = b.bursts
		}
		var ok sample
		failed := make([]sample, len(fails))
		for i := range rounds {
			if i%50 == 0 {
				b.progress("%d at once that fail: %d of %d", size, i, rounds)
			}
			took, err := atOnce(ctx, works[:size], "ADD")
			if err != nil {
				return s, err
			}
			ok = append(ok, took)
			if _, err := atOnce(ctx, works[:size], "DEL"); err != nil {
				return s, err
			}
			for k, all := range fails {
				took, err := atOnce(ctx, all[:size], "ADD")
				if err != nil {
					return s, err
				}
				failed[k] = append(failed[k], took)
			}
		}
		what := "ADD"
		if size > 1 {
			what = fmt.Sprintf("%d ADDs at once", size)
		}
		s.rows = append(s.rows, row{what: what, show: millis, values: ok})
		for k, f := range failing {
			s.rows = append(s.rows, row{
				what: what + ", " + f.name, show: millis, values: failed[k],
				against: "ADD that works", ratio: ofMedians(failed[k], ok), target: target{limit: 2, side: atMost},
			})
		}
	}
	return s, nil
}

// checks measures whether CHECK takes longer with more attachments on the node.
func (b *bench) checks(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("CHECK, among %d and among %d", level1, level2),
		note:  fmt.Sprintf("CHECK of one container, %d times.", b.steps),
	}
	l, err := b.crowd(ctx, "checks", dual, level1)
	if err != nil {
		return s, err
	}
	take := func() (all sample, err error) {
		for range b.steps {
			took, err := l.present[0].timed(ctx, "CHECK")
			if err != nil {
				return nil, err
			}
			all = append(all, took)
		}
		return all, nil
	}
	few, err := take()
	if err != nil {
		return s, err
	}
	if err := b.grow(ctx, l, level2); err != nil {
		return s, err
	}
	many, err := take()
	if err != nil {
		return s, err
	}
	s.rows = []row{
		{what: fmt.Sprintf("CHECK, among %d", level1), show: millis, values: few},
		{
			what: fmt.Sprintf("CHECK, among %d", level2), show: millis, values: many,
			against: fmt.Sprintf("among %d", level1), ratio: ofMedians(many, few), target: target{limit: 1.1, side: atMost},
		},
	}
	return s, b.shrink(ctx, l)
}
