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

// Who is behind a port? The far end knows the reply tuple, seen from its side.
func ExampleConn_Get() {
	who := func(c *conntrack.Conn, far, egress netip.AddrPort) (netip.AddrPort, error) {
		f, err := c.Get(conntrack.Tuple{
			Proto: unix.IPPROTO_TCP,
			Src:   far.Addr(), SrcPort: far.Port(),
			Dst: egress.Addr(), DstPort: egress.Port(),
		})
		if err != nil { // conntrack.ErrNotFound: nobody, now
			return netip.AddrPort{}, err
		}
		return netip.AddrPortFrom(f.Original.Src, f.Original.SrcPort), nil
	}
	_ = who
}

// Flows that began while there were no rules stay untranslated for their whole
// life. Their next packet begins them anew.
func ExampleConn_DeleteMatching() {
	mend := func(ctx context.Context, c *conntrack.Conn, pods netip.Prefix, direct func(netip.Addr) bool) (int, error) {
		untranslated := conntrack.Filter{StatusMask: conntrack.SrcNAT}
		return c.DeleteMatching(ctx, untranslated, func(f *conntrack.Flow) bool {
			return pods.Contains(f.Original.Src) && !direct(f.Original.Dst)
		})
	}
	_ = mend
}

// A list of what is, kept by events, and read anew when some were lost. The watch
// begins before the dump, so that nothing falls between the two.
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
