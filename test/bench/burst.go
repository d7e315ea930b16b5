package main

import (
	"context"
	"fmt"
)

// crowdSize is the number of containers that a node may start at once after a restart.
const crowdSize = 30

// burst measures concurrent calls.
func (b *bench) burst(ctx context.Context) (section, error) {
	var all []*contestant
	for _, c := range []struct {
		name, node string
		on         func(*node) *network
	}{
		{floorName, "burst-floor", b.floorOn},
		{ptpNFT, "burst-ptp", func(n *node) *network { return b.ptpOn(n, "nftables") }},
		{masqSingle, "burst-masq4", func(n *node) *network { return b.masqOn(n, single) }},
		{masqDual, "burst-masq46", func(n *node) *network { return b.masqOn(n, dual) }},
	} {
		n, err := b.site.node(c.node)
		if err != nil {
			return section{}, err
		}
		all = append(all, &contestant{name: c.name, net: c.on(n)})
	}
	pods, err := b.site.pods(crowdSize)
	if err != nil {
		return section{}, err
	}
	defer b.site.giveBack(pods)
	for round := range b.bursts {
		b.progress("%d at once, %d of %d", crowdSize, round, b.bursts)
		for _, c := range all {
			attachments := c.net.attachments(pods)
			add, err := atOnce(ctx, attachments, "ADD")
			if err != nil {
				return section{}, fmt.Errorf("%s: %w", c.name, err)
			}
			del, err := atOnce(ctx, attachments, "DEL")
			if err != nil {
				return section{}, fmt.Errorf("%s: %w", c.name, err)
			}
			c.add, c.del = append(c.add, add), append(c.del, del)
		}
	}
	goal := target{limit: 0.15, side: atMost}
	var rows []row
	for _, verb := range []string{"ADD", "DEL"} {
		of := func(c *contestant) sample {
			if verb == "ADD" {
				return c.add
			}
			return c.del
		}
		for _, c := range all {
			r := row{what: fmt.Sprintf("%d %ss, %s", crowdSize, verb, c.name), show: millis, values: of(c)}
			if c.net.conf["type"] == "masq" {
				r.against, r.ratio, r.target = ptpNFT, ofMedians(of(c), of(all[1])), goal
			}
			rows = append(rows, r)
		}
	}
	return section{
		title: fmt.Sprintf("%d calls at once, %d rounds", crowdSize, b.bursts),
		note:  "From the start of the first process to the end of the last, on a node without other attachments.",
		rows:  rows,
	}, nil
}
