package demo

import (
	"context"
	"net/netip"
)

// privileged connects from a privileged source port, and from another one.
func privileged(ctx context.Context, l *lab, s *Step) error {
	if err := l.attach(ctx, map[string]any{"mssClamp": "pmtu", "toPorts": "20000-29999", "helpers": map[string]any{"ftp": []int{21}}}); err != nil {
		return err
	}
	server, err := l.Server.ServeTCP(netip.AddrPortFrom(l.V4.Server, 514))
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	wctx, cancel := context.WithTimeout(ctx, successTimeout)
	defer cancel()
	low, err := l.pod.Who(wctx, netip.AddrPortFrom(l.addr, 1000), server.Addr())
	if err != nil {
		return err
	}
	high, err := l.pod.Who(wctx, netip.AddrPort{}, server.Addr())
	if err != nil {
		return err
	}
	s.say("rsh and NFS trust a client if its source port is below 1024.")
	s.say("With \"toPorts\": \"20000-29999\", a connection from port 1000 reaches the server from port %d, other connections from a port of the range: %d.", low.Port(), high.Port())
	s.figure("privileged", low)
	s.figure("other", high)
	inRange := high.Port() >= 20000 && high.Port() <= 29999
	s.expect(low.Addr() == l.V4.Node && low.Port() < 1024 && high.Addr() == l.V4.Node && inRange, "received from %s and %s", low, high)
	return nil
}
