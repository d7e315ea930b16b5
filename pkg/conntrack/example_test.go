package conntrack_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/conntrack"
)

// The flows of one container, counted by the address and port that they reach.
func ExampleConn_Dump() {
	count := func(ctx context.Context, pod netip.Addr) (map[netip.AddrPort]int, error) {
		c, err := conntrack.Open()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		servers := map[netip.AddrPort]int{}
		for f, err := range c.Dump(ctx, conntrack.Filter{Original: conntrack.Tuple{Src: pod}}) {
			if err != nil {
				return nil, err
			}
			servers[netip.AddrPortFrom(f.Reply.Src, f.Reply.SrcPort)]++
		}
		return servers, nil
	}
	_ = count
}

// Get returns which container has an egress port: a server knows the reply tuple.
func ExampleConn_Get() {
	lookUp := func(c *conntrack.Conn, server, egress netip.AddrPort) (netip.AddrPort, error) {
		f, err := c.Get(conntrack.Tuple{
			Proto: unix.IPPROTO_TCP,
			Src:   server.Addr(), SrcPort: server.Port(),
			Dst: egress.Addr(), DstPort: egress.Port(),
		})
		if err != nil { // conntrack.ErrNotFound: no flow has the port now
			return netip.AddrPort{}, err
		}
		return netip.AddrPortFrom(f.Original.Src, f.Original.SrcPort), nil
	}
	_ = lookUp
}

// Flows that began while rules were missing stay untranslated until they end. After their
// deletion, the next packet begins a new flow.
func ExampleConn_DeleteMatching() {
	deleteUntranslated := func(ctx context.Context, c *conntrack.Conn, pods netip.Prefix, direct func(netip.Addr) bool) (int, error) {
		untranslated := conntrack.Filter{StatusMask: conntrack.SrcNAT}
		return c.DeleteMatching(ctx, untranslated, func(f *conntrack.Flow) bool {
			return pods.Contains(f.Original.Src) && !direct(f.Original.Dst)
		})
	}
	_ = deleteUntranslated
}

// A map of all flows, updated by events, and read again when events were lost. The watch
// starts before the dump, so that no event is missed between the two.
func ExampleWatcher_Events() {
	follow := func(ctx context.Context) error {
		w, err := conntrack.Watch(conntrack.FlowNew|conntrack.FlowDestroy, 8<<20)
		if err != nil {
			return err
		}
		defer w.Close()
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		for {
			flows := map[uint32]conntrack.Flow{}
			for f, err := range c.Dump(ctx, conntrack.Filter{}) {
				if err != nil {
					return err
				}
				flows[f.ID] = *f
			}
			for e, err := range w.Events(ctx) {
				switch {
				case errors.Is(err, conntrack.ErrOverrun):
				case err != nil:
					return err
				case e.Kind == conntrack.FlowNew:
					flows[e.Flow.ID] = e.Flow
				case e.Kind == conntrack.FlowDestroy:
					delete(flows, e.Flow.ID)
				}
			}
		}
	}
	_ = follow
}

func ExampleFlow() {
	f := conntrack.Flow{
		Original: conntrack.Tuple{
			Proto: unix.IPPROTO_UDP,
			Src:   netip.MustParseAddr("10.88.0.2"), SrcPort: 4711,
			Dst: netip.MustParseAddr("192.0.2.53"), DstPort: 53,
		},
		Reply: conntrack.Tuple{
			Proto: unix.IPPROTO_UDP,
			Src:   netip.MustParseAddr("192.0.2.53"), SrcPort: 53,
			Dst: netip.MustParseAddr("203.0.113.1"), DstPort: 33901,
		},
		Status: conntrack.Confirmed | conntrack.SrcNAT | conntrack.SrcNATDone | conntrack.DstNATDone,
	}
	fmt.Println(f.Original)
	fmt.Println(f.Egress(), f.Translated())
	fmt.Println(f.Status)
	// Output:
	// udp 10.88.0.2:4711 > 192.0.2.53:53
	// 203.0.113.1:33901 true
	// confirmed,src-nat,src-nat-done,dst-nat-done
}
