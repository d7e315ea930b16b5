package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// contestant is a network of the comparison with the measured times of its calls.
type contestant struct {
	name           string
	net            *network
	add, del       sample // milliseconds
	addCPU, delCPU sample
}

const (
	ptpNFT      = "ptp, nftables"
	ptpIPTables = "ptp, iptables"
	floorName   = "floor"
	masqSingle  = "masq, IPv4"
	masqDual    = "masq, IPv4 and IPv6"
)

// contestants returns all plugins, each on a separate node.
func (b *bench) contestants() ([]*contestant, error) {
	var out []*contestant
	for _, c := range []struct {
		name, node string
		on         func(*node) *network
	}{
		{floorName, "floor", b.floorOn},
		{ptpNFT, "ptp-nft", func(n *node) *network { return b.ptpOn(n, "nftables") }},
		{ptpIPTables, "ptp-ipt", func(n *node) *network { return b.ptpOn(n, "iptables") }},
		{masqSingle, "masq4", func(n *node) *network { return b.masqOn(n, single) }},
		{masqDual, "masq46", func(n *node) *network { return b.masqOn(n, dual) }},
	} {
		n, err := b.site.node(c.node)
		if err != nil {
			return nil, err
		}
		out = append(out, &contestant{name: c.name, net: c.on(n)})
	}
	return out, nil
}

// calls measures ADD and DEL, one call of each plugin in turn. The order changes in each round, so that
// no plugin always follows a slow one.
func (b *bench) calls(ctx context.Context) (section, error) {
	all, err := b.contestants()
	if err != nil {
		return section{}, err
	}
	attachments := map[*contestant][]*attachment{}
	for _, c := range all {
		pods, err := b.site.pods(b.attachments)
		if err != nil {
			return section{}, err
		}
		defer b.site.giveBack(pods)
		attachments[c] = c.net.attachments(pods)
	}
	order := rand.New(rand.NewPCG(1, 1))
	for _, verb := range []string{"ADD", "DEL"} {
		for round := range b.attachments {
			if round%50 == 0 {
				b.progress("%s %d of %d", verb, round, b.attachments)
			}
			for _, i := range order.Perm(len(all)) {
				c := all[i]
				took, cpu := &c.add, &c.addCPU
				if verb == "DEL" {
					took, cpu = &c.del, &c.delCPU
				}
				if err := c.call(ctx, attachments[c][round], verb, took, cpu); err != nil {
					return section{}, err
				}
			}
		}
	}
	return section{
		title: fmt.Sprintf("One call, %d attachments of each", b.attachments),
		note: "Wall time of the process, started in the node's namespace with libcni's input. " +
			"One call of each plugin in turn, in a new random order each time. A ratio compares medians, " +
			"its spread compares rounds. Processor time covers the processes, without later work of the kernel. DEL is measured after all attachments exist.",
		rows: slices.Concat(
			rowsOf("ADD", all, func(c *contestant) sample { return c.add }, target{limit: 0.20, side: atMost}),
			rowsOf("DEL", all, func(c *contestant) sample { return c.del }, target{limit: 0.30, side: atMost}),
			rowsOf("processor time of ADD", all, func(c *contestant) sample { return c.addCPU }, target{}),
			rowsOf("processor time of DEL", all, func(c *contestant) sample { return c.delCPU }, target{})),
	}, nil
}

// call measures one call: its time and its processor time.
func (c *contestant) call(ctx context.Context, a *attachment, verb string, took, cpu *sample) error {
	before, err := childTime()
	if err != nil {
		return err
	}
	t, err := a.timed(ctx, verb)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := childTime()
	*took, *cpu = append(*took, t), append(*cpu, float64(after-before)/float64(time.Millisecond))
	return err
}

func rowsOf(verb string, all []*contestant, of func(*contestant) sample, goal target) []row {
	by := map[string]sample{}
	for _, c := range all {
		by[c.name] = of(c)
	}
	var out []row
	for _, c := range all {
		r := row{what: verb + ", " + c.name, show: millis, values: of(c)}
		if c.net.conf["type"] == "masq" {
			r.against, r.target = ptpNFT, goal
			r.ratio = ofMedians(r.values, by[ptpNFT])
		}
		out = append(out, r)
	}
	if verb == "ADD" {
		out = append(out, row{
			what: verb + ", two families", show: millis, values: by[masqDual],
			against: "one family", ratio: ofMedians(by[masqDual], by[masqSingle]), target: target{limit: 1.3, side: atMost},
		})
	}
	return out
}
