package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// TraceFlow selects the packets that a Tracer traces: those from Source to Destination, and,
// however they are translated, their replies and the ICMP errors about them.
type TraceFlow struct {
	// Protocol is unix.IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP or IPPROTO_ICMPV6. For ICMP the
	// packets are echo requests, and the ports are not used.
	Protocol uint8
	// Source and Destination are as the sender's packets have them. Port 0 is any port.
	Source, Destination netip.AddrPort
}

// Tracer traces packets of some flows through all tables of nf_tables in the network
// namespace in which it was opened. Tables of legacy iptables do not report packets: a packet
// that they drop has the FateLost.
//
// A Tracer adds the table inet masq-doctor-N, where N is the port ID of its netlink socket. If
// there are tables of the family bridge, it adds the table bridge masq-doctor-N. Tables of the
// family netdev are not traced. The kernel deletes its tables, which have the flag owner, when the
// socket is closed, also if the process was killed, and lets no other program change them. So
// several Tracers can be open at a time.
type Tracer struct {
	name   string
	owner  *Conn // owns the table; its socket must not be replaced
	reader *Conn
	links  *netlink.Conn
	events *netlink.Subscription
	stop   func() bool

	mutex    sync.Mutex // the context can end while packets are read
	closed   bool
	received []traceMessage
	lost     bool
	roles    map[tracedRule]PacketRole
	resolved traceNames
}

// traceTable is the beginning of the name of a Tracer's table.
const traceTable = "masq-doctor-"

// isTraceTable reports whether a table is a Tracer's.
func isTraceTable(name string) bool { return strings.HasPrefix(name, traceTable) }

// traceBuffer is the size in bytes of the kernel's queue of trace messages. A message takes
// about 1 KiB of it, and a packet some tens of messages.
const traceBuffer = 8 << 20

// maxTraceMessages bounds the memory of a Tracer: some hundred packets.
const maxTraceMessages = 20_000

// OpenTracer begins to trace the packets of flows in the network namespace of the calling
// thread. The table is removed by Close, and when ctx ends.
//
//	t, err := nft.OpenTracer(ctx, nft.TraceFlow{Protocol: unix.IPPROTO_TCP, Source: netip.AddrPortFrom(pod, 0), Destination: target})
//	defer t.Close()
//	... // send packets, and wait for the answer or for the time-out
//	packets, err := t.Packets(ctx)
func OpenTracer(ctx context.Context, flows ...TraceFlow) (_ *Tracer, err error) {
	t := &Tracer{}
	defer func() {
		if err != nil {
			err = errors.Join(explain(err), t.Close())
		}
	}()
	if t.owner, err = Open(); err != nil {
		return nil, err
	}
	if t.reader, err = Open(); err != nil {
		return nil, err
	}
	if t.links, err = netlink.Dial(unix.NETLINK_ROUTE, netlink.DumpBuffer); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if t.events, err = netlink.Subscribe(unix.NETLINK_NETFILTER, traceBuffer, unix.NFNLGRP_NFTRACE); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	port, err := t.owner.nl.Port()
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	t.name = fmt.Sprint(traceTable, port)
	ops, err := t.reader.traceOps(t.name, flows)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if err := t.owner.transact(ops, 0, true); err != nil {
		return nil, fmt.Errorf("add table %s: %w", t.name, err)
	}
	if t.roles, err = t.reader.traceRoles(t.name); err != nil {
		return nil, fmt.Errorf("read table %s: %w", t.name, err)
	}
	t.stop = context.AfterFunc(ctx, func() { _ = t.Close() })
	return t, nil
}

// Close stops tracing and removes the table. A second call does nothing.
func (t *Tracer) Close() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.stop != nil {
		t.stop()
	}
	var errs []error
	// The kernel deletes the table while it closes the owner's socket.
	for _, c := range []*Conn{t.owner, t.reader} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if t.links != nil {
		errs = append(errs, t.links.Close())
	}
	if t.events != nil {
		errs = append(errs, t.events.Close())
	}
	return errors.Join(errs...)
}

// Packets returns the packets that have been traced since the Tracer was opened, in the order
// in which they came, each with what happened to it so far. It does not wait: when an answer
// has arrived, so have the messages about its packets. ctx bounds the time in which the rules
// that packets met are read. complete is false if the kernel dropped messages because there
// were too many. After Close the error is os.ErrClosed.
func (t *Tracer) Packets(ctx context.Context) (all []TracedPacket, complete bool, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return nil, false, fmt.Errorf("read the trace: %w", os.ErrClosed)
	}
	if err := t.receive(); err != nil {
		return nil, false, fmt.Errorf("read the trace: %w", err)
	}
	all = tracedPackets(t.received, t.name, t.roles)
	for i := range all {
		p := &all[i]
		for j := range p.Steps {
			if ctx.Err() != nil {
				return nil, false, fmt.Errorf("read the rules that packets met: %w", context.Cause(ctx))
			}
			if err := t.resolve(&p.Steps[j]); err != nil {
				return nil, false, fmt.Errorf("read the rules that packets met: %w", explain(err))
			}
		}
		in := p.Steps[0].in
		p.judge(t.name)
		p.In = t.link(in)
		if p.Fate == FateLeft {
			p.Out = t.link(p.out)
		}
	}
	// A packet that passes a bridge is traced again in the tables that follow.
	return slices.DeleteFunc(all, func(p TracedPacket) bool { return p.bridged && !p.Fate.ended() }), !t.lost, nil
}

// receive reads the messages that have arrived.
func (t *Tracer) receive() error {
	for {
		err := t.receiveUntilLoss()
		if !errors.Is(err, netlink.ErrOverrun) {
			return err
		}
		t.lost = true // later messages are still there
	}
}

func (t *Tracer) receiveUntilLoss() error {
	for m, err := range t.events.Waiting() {
		if err != nil {
			return err
		}
		x, ok, err := readTrace(m)
		switch {
		case err != nil:
			return err
		case ok && len(t.received) >= maxTraceMessages:
			t.lost = true
		case ok:
			t.received = append(t.received, x)
		}
	}
	return nil
}
