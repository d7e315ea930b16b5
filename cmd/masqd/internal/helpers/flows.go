package helpers

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// conn is the part of conntrack.Conn that flows needs.
type conn interface {
	Create(conntrack.Entry) error
	SetTimeout(conntrack.Tuple, time.Duration) error
	Get(conntrack.Tuple) (conntrack.Flow, error)
	Delete(t conntrack.Tuple, id uint32) error
	DeleteMatching(ctx context.Context, filter conntrack.Filter, match func(*conntrack.Flow) bool) (int, error)
}

// flows changes the kernel's flows for several goroutines.
type flows struct {
	mu   sync.Mutex
	conn conn
}

// get returns the flow that has a tuple.
func (f *flows) get(t conntrack.Tuple) (conntrack.Flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.Get(t)
}

// create creates a flow. If a flow of the same client and server has one of its tuples, it
// deletes that first. The error is conntrack.ErrExists if another flow has one.
func (f *flows) create(e conntrack.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.conn.Create(e)
	if !errors.Is(err, conntrack.ErrExists) {
		return err
	}
	if err := f.makeRoom(e); err != nil {
		return err
	}
	return f.conn.Create(e)
}

// makeRoom deletes a flow of the same client and server, of an earlier session or from
// before the announcement. If the server has sent before the flow was created, or after it
// vanished, its packets are a flow to the node itself, which each of them renews: makeRoom
// deletes that too.
func (f *flows) makeRoom(e conntrack.Entry) error {
	var old []conntrack.Flow
	for _, t := range []conntrack.Tuple{e.Original(), e.Reply()} {
		x, err := f.conn.Get(t)
		switch isToNode := x.Original == e.Reply() && x.Status&(conntrack.SrcNAT|conntrack.DstNAT) == 0; {
		case errors.Is(err, conntrack.ErrNotFound):
		case err != nil:
			return err
		case x.Original == e.Original() || isToNode:
			old = append(old, x)
		default:
			return conntrack.ErrExists
		}
	}
	for _, x := range old {
		if err := f.conn.Delete(x.Original, x.ID); err != nil && !errors.Is(err, conntrack.ErrNotFound) {
			return err
		}
	}
	return nil
}

// renew sets the remaining time of a flow, and creates it again if it has vanished.
func (f *flows) renew(e conntrack.Entry) error {
	f.mu.Lock()
	x, err := f.conn.Get(e.Original())
	if err == nil && x.Original == e.Original() && x.Reply == e.Reply() {
		err = f.conn.SetTimeout(e.Original(), e.Timeout)
		if !errors.Is(err, conntrack.ErrNotFound) {
			f.mu.Unlock()
			return err
		}
	}
	f.mu.Unlock()
	return f.create(e)
}

// forgetListener deletes the redirected UDP flows to ports of an address except one, at which
// masqd listens now; 0 for none. A program sends all its messages from one socket, so that
// its flow would lead to a listener that has ended for as long as it sends. destinations are
// the ports of which flows are redirected.
func (f *flows) forgetListener(ctx context.Context, a netip.Addr, now uint16, destinations map[uint16]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	filter := conntrack.Filter{Original: conntrack.Tuple{Proto: unix.IPPROTO_UDP}, Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT}
	_, err := f.conn.DeleteMatching(ctx, filter, func(x *conntrack.Flow) bool {
		return x.Reply.Src == a && destinations[x.Original.DstPort] && x.Reply.SrcPort != x.Original.DstPort && x.Reply.SrcPort != now
	})
	return err
}

// deleteMedia deletes the translated UDP flows of a container that is deleted: those from its
// address, and those to a port of the node that lead to it.
func (f *flows) deleteMedia(ctx context.Context, a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, filter := range []conntrack.Filter{
		{Original: conntrack.Tuple{Proto: unix.IPPROTO_UDP, Src: a}, Status: conntrack.SrcNAT, StatusMask: conntrack.SrcNAT},
		{Reply: conntrack.Tuple{Proto: unix.IPPROTO_UDP, Src: a}, Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT},
	} {
		_, err := f.conn.DeleteMatching(ctx, filter, func(*conntrack.Flow) bool { return true })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// deleteOpened deletes the flows to ports that were open for servers whose ports are not known.
// It reads the table once.
func (f *flows) deleteOpened(ctx context.Context, all []session.Media) error {
	type port struct {
		proto          uint8
		egress, client netip.AddrPort
		server         netip.Addr
	}
	ports := map[port]bool{}
	for _, m := range all {
		ports[port{m.Proto, m.Egress, m.Client, m.Server.Addr()}] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	filter := conntrack.Filter{Status: conntrack.DstNAT, StatusMask: conntrack.DstNAT}
	_, err := f.conn.DeleteMatching(ctx, filter, func(x *conntrack.Flow) bool {
		return ports[port{
			x.Original.Proto, netip.AddrPortFrom(x.Original.Dst, x.Original.DstPort),
			netip.AddrPortFrom(x.Reply.Src, x.Reply.SrcPort), x.Original.Src,
		}]
	})
	return err
}

// delete deletes a flow, if it is the created one.
func (f *flows) delete(e conntrack.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, err := f.conn.Get(e.Original())
	if err == nil && x.Reply == e.Reply() {
		err = f.conn.Delete(e.Original(), x.ID)
	}
	if errors.Is(err, conntrack.ErrNotFound) {
		return nil
	}
	return err
}
