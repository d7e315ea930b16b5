package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
)

// newFlows measures the cost of new connections while masqd runs. Without a NAT log, masqd does
// not listen to flow events.
func (b *bench) newFlows(ctx context.Context) ([]row, error) {
	t, err := b.traffic(ctx)
	if err != nil {
		return nil, err
	}
	openers, done, err := t.openers()
	if err != nil {
		return nil, err
	}
	defer done()
	// masqd makes its repairs before the measurement.
	if err := errors.Join(os.WriteFile(t.config(), []byte("{}"), 0o600), t.wake(ctx, tableMasq), b.during(ctx, t, nil)); err != nil {
		return nil, err
	}
	const without, again, with = "without masqd", "without masqd again", "with masqd"
	turns := []string{without, again, with}
	took := map[[2]string]sample{}
	err = t.pinned(func(m *meter) error {
		order := rand.New(rand.NewPCG(5, 5))
		for round := range b.rounds {
			if round%10 == 0 {
				b.progress("new flows while masqd runs, round %d of %d", round, b.rounds)
			}
			for _, i := range order.Perm(len(turns)) {
				send := func() error {
					for _, o := range openers {
						ns, err := t.turn(m, o)
						if err != nil {
							return fmt.Errorf("%s %s: %w", o.what, turns[i], err)
						}
						at := [2]string{turns[i], o.what}
						took[at] = append(took[at], ns)
					}
					return nil
				}
				measure := send
				if turns[i] == with {
					measure = func() error { return b.during(ctx, t, send) }
				}
				if err := measure(); err != nil {
					return err
				}
				runtime.GC()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, o := range openers {
		rate := func(turn string) sample {
			return took[[2]string{turn, o.what}].each(func(ns float64) float64 { return 1e9 / ns })
		}
		for _, turn := range turns {
			r := row{what: "new flows, " + o.what + ", " + turn, show: perSecond, values: rate(turn)}
			if turn != without {
				r.against, r.ratio = without, ofRounds(r.values, rate(without))
			}
			if turn == with && !o.frames {
				r.target = target{limit: 0.99, side: atLeast}
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// during calls f while masqd runs on the node.
func (b *bench) during(ctx context.Context, t *traffic, f func() error) error {
	d, err := b.masqd(ctx, t.node)
	if err != nil {
		return err
	}
	if f != nil {
		err = f()
	}
	return errors.Join(err, d.end())
}
