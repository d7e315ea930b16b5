package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
)

// flows measures the first packets of flows, which are the packets that NAT rules match.
func (b *bench) flows(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("New connections from a container among %d", level2),
		note: fmt.Sprintf("The same container, links and node; the tables take turns, all but one dormant, in %d rounds of %d TCP connections "+
			"(opened, and closed by a reset), %d UDP sockets that send one datagram, and %d datagrams with new ports sent as frames on the container's link, "+
			"without socket cost. Rates are per dedicated processor: see docs/benchmarks.md. "+
			"Ratios are taken within a round. The bare rule has a second turn in each round: differences within its spread are noise.",
			b.rounds, tcpFlows, udpFlows, rawFlows),
	}
	t, err := b.traffic(ctx)
	if err != nil {
		return s, err
	}
	openers, done, err := t.openers()
	if err != nil {
		return s, err
	}
	defer done()
	turns := append([]turn{
		{name: "bare rule", table: tableBare},
		{name: "masq", table: tableMasq, against: "bare rule"},
		{name: "bare rule again", table: tableBare, against: "bare rule"},
	}, t.variantTurns("bare rule")...)
	took := map[[2]string]sample{}
	err = t.pinned(func(m *meter) error {
		order := rand.New(rand.NewPCG(2, 2))
		for round := range b.rounds {
			if round%10 == 0 {
				b.progress("new flows, round %d of %d", round, b.rounds)
			}
			for _, i := range order.Perm(len(turns)) {
				if err := t.wake(ctx, turns[i].table); err != nil {
					return err
				}
				for _, o := range openers {
					ns, err := t.turn(m, o)
					if err != nil {
						return fmt.Errorf("%s through %s: %w", o.what, turns[i].table, err)
					}
					at := [2]string{turns[i].name, o.what}
					took[at] = append(took[at], ns)
				}
				runtime.GC()
			}
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	for _, o := range openers {
		rate := func(turn string) sample {
			return took[[2]string{turn, o.what}].each(func(ns float64) float64 { return 1e9 / ns })
		}
		for _, turn := range turns {
			r := row{what: o.what + ", " + turn.name, show: perSecond, values: rate(turn.name)}
			if turn.against != "" {
				r.against, r.ratio = turn.against, ofRounds(r.values, rate(turn.against))
			}
			if turn.name == "masq" && !o.frames {
				r.target = target{limit: 0.97, side: atLeast}
			}
			s.rows = append(s.rows, r)
		}
	}
	return s, nil
}

// turn returns the nanoseconds per flow that an opener begins.
func (t *traffic) turn(m *meter, o opener) (ns float64, err error) {
	packets, err := t.arrived(func() error {
		ns, err = m.each(o.count, o.open)
		return err
	})
	if err != nil {
		return 0, err
	}
	if packets < o.count {
		return 0, fmt.Errorf("%d of %d packets arrived", packets, o.count)
	}
	return ns, errors.Join(o.clear(), t.forget())
}
