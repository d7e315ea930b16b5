package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// usable measures when an address that ADD gave can be used. As soon as ADD returns, one datagram is
// sent to a server outside the node. It must be answered.
func (b *bench) usable(ctx context.Context) (section, error) {
	n, err := b.site.node("usable")
	if err != nil {
		return section{}, err
	}
	masq := b.masqOn(n, dual)
	pods, err := b.site.pods(b.steps)
	if err != nil {
		return section{}, err
	}
	defer b.site.giveBack(pods)
	servers := map[string]netip.AddrPort{}
	for _, far := range []netip.Addr{far4, far6} {
		srv, err := n.far.ServeUDP(netip.AddrPortFrom(far, 0))
		if err != nil {
			return section{}, err
		}
		servers[family(far)] = srv.Addr()
	}
	took, answered := map[string]sample{}, map[string]float64{}
	all := masq.attachments(pods)
	for i, a := range all {
		if _, err := a.timed(ctx, "ADD"); err != nil {
			return section{}, err
		}
		// The second address could become usable while the first was tested.
		order := []string{"IPv4", "IPv6"}
		if i%2 == 1 {
			order = []string{"IPv6", "IPv4"}
		}
		for _, f := range order {
			patience, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			start := time.Now()
			err := a.pod.EchoUDP(patience, netip.AddrPort{}, servers[f], 64)
			cancel()
			if err == nil {
				took[f] = append(took[f], float64(time.Since(start))/float64(time.Millisecond))
				answered[f]++
			}
		}
	}
	if err := inTurn(ctx, all, "DEL"); err != nil {
		return section{}, err
	}
	s := section{
		title: "The first datagram after ADD",
		note: fmt.Sprintf("From the return of ADD of a container with both families to the answer of a server outside the node, "+
			"through masquerade; each family is first in every other round. A datagram is sent once: the share answered within 200 ms, of %d.", len(all)),
	}
	for _, f := range []string{"IPv4", "IPv6"} {
		s.rows = append(s.rows,
			row{what: f + ", answer", show: millis, values: took[f]},
			row{
				what: f + ", answered", show: plain, values: sample{answered[f] / float64(len(all))},
				target: target{limit: 1, side: atLeast, value: median},
			})
	}
	return s, nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
