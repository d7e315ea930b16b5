package demo

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// fragments sends a UDP datagram that is larger than the MTU.
func fragments(ctx context.Context, l *lab, s *Step) error {
	const size = 3000
	server, err := l.Server.ServeUDP(netip.AddrPortFrom(l.V4.Server, 7))
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	c, err := l.Server.Capture("eth0", func(p nstest.Packet) bool {
		return !p.Outgoing && p.Proto == unix.IPPROTO_UDP
	})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ectx, cancel := context.WithTimeout(ctx, successTimeout)
	defer cancel()
	if err := l.pod.EchoUDP(ectx, netip.AddrPort{}, server.Addr(), size); err != nil {
		return err
	}
	packets := c.Packets()
	sources := map[netip.Addr]bool{}
	ports := 0
	for _, p := range packets {
		sources[p.Src] = true
		if p.DstPort != 0 {
			ports++
		}
	}
	s.say("A datagram of %d bytes reaches the server in %d fragments; only the first carries a port. All come from %s, and the answer of %d bytes comes back.", size, len(packets), packets[0].Src, size)
	s.figure("fragments", len(packets))
	s.figure("withPort", ports)
	s.expect(len(packets) > size/uplinkMTU && ports == 1 && len(sources) == 1 && sources[l.V4.Node], "%d fragments, %d with a port, from %v", len(packets), ports, sources)
	return nil
}
