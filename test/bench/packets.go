package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// flowPackets is the number of packets of an established flow that a turn sends.
const flowPackets = 30 * 1024

// flow is a UDP flow from a container: its socket, and frames to send its packets directly on the
// container's link.
type flow struct {
	*traffic
	client, server int
	kinds          []kind
	close          func()
}

type kind struct {
	what string
	fire func() error
}

// packets measures an established flow. Its packets pass all rules except NAT rules.
func (b *bench) packets(ctx context.Context) (section, error) {
	s := section{
		title: fmt.Sprintf("Packets of an established flow, among %d attachments", level2),
		note: fmt.Sprintf("As above; %d rounds of %d datagrams of 18 bytes by sendmmsg from the container's socket, and as many frames on its link. "+
			"Conntrack alone is a table with one rule, ct state established accept, and no translation. The bare rule's additional time is the kernel's cost of translating a packet.",
			b.rounds, flowPackets),
	}
	t, err := b.traffic(ctx)
	if err != nil {
		return s, err
	}
	usual, err := t.flow(t.pod, 4000)
	if err != nil {
		return s, err
	}
	defer usual.close()
	plain, err := t.flow(t.plain, 4001)
	if err != nil {
		return s, err
	}
	defer plain.close()
	const alone = "conntrack alone"
	turns := append([]turn{
		{name: alone, table: tableAlone},
		{name: alone + " again", table: tableAlone, against: alone},
		{name: "bare rule", table: tableBare, against: alone},
		{name: "masq", table: tableMasq, against: alone},
		{name: "masq without spoofCheck and dropInvalid", table: tableMasq, against: alone, plain: true},
	}, t.variantTurns(alone)...)
	took := map[[2]string]sample{}
	err = t.pinned(func(m *meter) error {
		order := rand.New(rand.NewPCG(3, 3))
		for round := range b.rounds {
			if round%10 == 0 {
				b.progress("established flow, round %d of %d", round, b.rounds)
			}
			for _, i := range order.Perm(len(turns)) {
				turn := turns[i]
				f := usual
				if turn.plain {
					f = plain
				}
				if err := errors.Join(t.wake(ctx, turn.table), f.establish()); err != nil {
					return fmt.Errorf("%s: %w", turn.name, err)
				}
				for _, k := range f.kinds {
					ns, err := f.turn(m, k)
					if err != nil {
						return fmt.Errorf("%s: %w", turn.name, err)
					}
					at := [2]string{turn.name, k.what}
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
	for i, k := range usual.kinds {
		rate := func(name string) sample {
			return took[[2]string{name, k.what}].each(func(ns float64) float64 { return 1e9 / ns })
		}
		for _, turn := range turns {
			r := row{what: k.what + ", " + turn.name, show: perSecond, values: rate(turn.name)}
			if turn.against != "" {
				r.against, r.ratio = turn.against, ofRounds(r.values, rate(turn.against))
			}
			if turn.name == "masq" && i == 0 {
				r.target = target{limit: 0.98, side: atLeast}
			}
			s.rows = append(s.rows, r)
			if turn.name == "masq" {
				s.rows = append(s.rows, row{what: "the same", show: perSecond, values: r.values, against: "bare rule", ratio: ofRounds(r.values, rate("bare rule"))})
			}
		}
	}
	return s, nil
}

// flow opens the sockets of a flow from a container to a port of the server.
func (t *traffic) flow(a *attachment, port uint16) (*flow, error) {
	src, err := source(a)
	if err != nil {
		return nil, err
	}
	from, to := netip.AddrPortFrom(src, port), netip.AddrPortFrom(far4, port)
	f := &flow{traffic: t}
	if f.server, err = socketIn(t.far, unix.SOCK_DGRAM, to, netip.AddrPort{}); err != nil {
		return nil, err
	}
	if f.client, err = socketIn(a.pod, unix.SOCK_DGRAM, from, to); err != nil {
		return nil, err
	}
	raw, mac, err := frameSocket(a.pod)
	if err != nil {
		return nil, err
	}
	gateway, err := a.gatewayMAC()
	if err != nil {
		return nil, err
	}
	f.close = func() { _ = errors.Join(unix.Close(f.server), unix.Close(f.client), unix.Close(raw)) }
	const at = 1024 // number of messages per system call
	var datagrams, frames [][]byte
	for range at {
		datagrams = append(datagrams, make([]byte, 18))
		frames = append(frames, frame(mac, gateway, from, to))
	}
	for _, k := range []struct {
		what   string
		volley *volley
	}{{"socket", volleyOf(f.client, datagrams)}, {"frames", volleyOf(raw, frames)}} {
		f.kinds = append(f.kinds, kind{k.what, func() error {
			for range flowPackets / at {
				if err := k.volley.fire(); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return f, nil
}

// establish sends packets in both directions, which makes the flow established. Afterwards the
// server drops what it receives.
func (f *flow) establish() error {
	if err := keepReceived(f.server); err != nil {
		return err
	}
	if _, err := unix.Write(f.client, make([]byte, 18)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	buf := make([]byte, 64)
	_, from, err := unix.Recvfrom(f.server, buf, 0)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if err := unix.Sendto(f.server, buf[:18], 0, from); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if _, err := unix.Read(f.client, buf); err != nil {
		return fmt.Errorf("receive the answer: %w", err)
	}
	return dropReceived(f.server)
}

func (f *flow) turn(m *meter, k kind) (ns float64, err error) {
	packets, err := f.arrived(func() error {
		ns, err = m.each(flowPackets, k.fire)
		return err
	})
	if err == nil && packets < flowPackets {
		err = fmt.Errorf("%d of %d packets arrived", packets, flowPackets)
	}
	return ns, err
}
