package main

import (
	"context"
	"fmt"

	"github.com/masq-cni/masq-cni/test/nstest"
)

const (
	level1 = 10
	level2 = 1000
)

// level is one of the two nodes of a comparison, with the times of calls before and after one of
// them grew.
type level struct {
	*network
	present       []*attachment
	before, after phase
}

type phase struct{ add, del sample }

// levels measures whether calls take longer with more attachments on a node. One node grows. Another
// node, which does not grow, is called in turn with it, so that changes of the machine's speed are
// not mistaken for growth.
func (b *bench) levels(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("One more, among %d and among %d", level1, level2),
		note: fmt.Sprintf("ADD and DEL of one more container, %d times, on a node that grows from %d attachments to %d, "+
			"in turn with another node that stays at %d. If the other node's median changes too, the machine's speed has changed.", b.steps, level1, level2, level1),
	}
	// All namespaces exist from the beginning, because the start of every Go program reads the list
	// of mounts.
	pods, err := b.site.pods(level1 + level2 + 1)
	if err != nil {
		return s, err
	}
	b.site.giveBack(pods)
	for _, stack := range []struct {
		name, node string
		subnets    []string
	}{{masqSingle, "4", single}, {masqDual, "46", dual}} {
		grows, err := b.crowd(ctx, "grows"+stack.node, stack.subnets, level1)
		if err != nil {
			return s, err
		}
		stays, err := b.crowd(ctx, "stays"+stack.node, stack.subnets, level1)
		if err != nil {
			return s, err
		}
		both := []*level{grows, stays}
		if err := b.ask(ctx, both, func(l *level) *phase { return &l.before }); err != nil {
			return s, err
		}
		if err := b.grow(ctx, grows, level2); err != nil {
			return s, err
		}
		if err := b.ask(ctx, both, func(l *level) *phase { return &l.after }); err != nil {
			return s, err
		}
		s.rows = append(s.rows, levelRows(stack.name, grows, stays)...)
		if err := b.shrink(ctx, grows); err != nil {
			return s, err
		}
	}
	return s, nil
}

// ask adds one more container to each node in turn, and removes it.
func (b *bench) ask(ctx context.Context, nodes []*level, into func(*level) *phase) error {
	pods, err := b.site.pods(1)
	if err != nil {
		return err
	}
	defer b.site.giveBack(pods)
	for i := range b.steps {
		if i%50 == 0 {
			b.progress("one more: %d of %d", i, b.steps)
		}
		for k := range nodes {
			l := nodes[(i+k)%len(nodes)]
			a := l.attachment(pods[0])
			add, err := a.timed(ctx, "ADD")
			if err != nil {
				return err
			}
			del, err := a.timed(ctx, "DEL")
			if err != nil {
				return err
			}
			p := into(l)
			p.add, p.del = append(p.add, add), append(p.del, del)
		}
	}
	return nil
}

func levelRows(name string, grows, stays *level) []row {
	few, many := fmt.Sprintf("among %d", level1), fmt.Sprintf("among %d", level2)
	goal := target{limit: 1.1, side: atMost}
	return []row{
		{what: "ADD, " + name + ", " + few, show: millis, values: grows.before.add},
		{
			what: "ADD, " + name + ", " + many, show: millis, values: grows.after.add,
			against: "itself " + few + ", before", ratio: ofMedians(grows.after.add, grows.before.add), target: goal,
		},
		{
			what: "the same", show: millis, values: grows.after.add,
			against: "the other node " + few + ", in turn", ratio: ofMedians(grows.after.add, stays.after.add), target: goal,
		},
		{
			what: "control: the other node " + few, show: millis, values: stays.after.add,
			against: "itself, before", ratio: ofMedians(stays.after.add, stays.before.add),
		},
		{
			what: "DEL, " + name + ", " + many, show: millis, values: grows.after.del,
			against: "the other node " + few + ", in turn", ratio: ofMedians(grows.after.del, stays.after.del),
		},
	}
}

// crowd makes a node with this number of attachments of masq.
func (b *bench) crowd(ctx context.Context, name string, subnets []string, size int) (*level, error) {
	n, err := b.site.node(name)
	if err != nil {
		return nil, err
	}
	l := &level{network: b.masqOn(n, subnets)}
	return l, b.grow(ctx, l, size)
}

func (b *bench) grow(ctx context.Context, l *level, size int) error {
	b.progress("%s: %d attachments", l.Name(), size)
	pods, err := b.site.pods(size - len(l.present))
	if err != nil {
		return err
	}
	attachments := l.attachments(pods)
	l.present = append(l.present, attachments...)
	return inTurn(ctx, attachments, "ADD")
}

func (b *bench) shrink(ctx context.Context, l *level) error {
	for _, a := range l.present {
		defer b.site.giveBack([]*nstest.NS{a.pod})
	}
	return inTurn(ctx, l.present, "DEL")
}
