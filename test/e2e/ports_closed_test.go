package e2e

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/portpool"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestPortsOfClosedConnections: the kernel reuses the port of a closed connection for a new
// one, so after 13 short connections through 10 ports none is in use. The control is ten
// connections that stay open.
func TestPortsOfClosedConnections(t *testing.T) {
	if !portpool.ReusesClosed() {
		t.Skip("needs Linux 6.5")
	}
	w := newWorld(t, nstest.Uplink{})
	p := w.attachNamed("ns", "tight", w.masq().With(keys{"toPorts": "20000-20009"}))
	server := assert.Must(w.Server.ServeTCP(at(w.V4.Server, 443)))(t)
	group := func(server netip.AddrPort) portGroup {
		t.Helper()
		all := inspect[struct{ Groups []portGroup }](w, "ports", "--measure", "0").Groups
		for _, g := range all {
			if g.Destination == server.Addr() && g.DestinationPort == server.Port() {
				return g
			}
		}
		t.Fatalf("no group of the server among %+v", all)
		return portGroup{}
	}
	const short = 13
	for done := 0; done < short; {
		// The kernel keeps a closed connection if the new sequence number is below its own. For
		// all ten ports together that happens once in 1024 connections.
		if c, err := p.Dial(soon(t), "tcp", netip.AddrPort{}, server.Addr()); err == nil {
			assert.NoError(t, c.Close())
			done++
		}
	}
	g := w.gauge(t)
	until(t, "all connections are closed", func() bool {
		x := g.of(t, g.sample(t), unix.IPPROTO_TCP, server.Addr())
		return x.Used == 0 && x.Closing > 0
	})
	if x := group(server.Addr()); x.Used != 0 || x.Closing == 0 || x.Usable != 10 || x.Level != "ok" || x.Share != 0 || len(x.Holders) != 0 {
		t.Errorf("after %d short connections: %+v", short, x)
	}
	var open []net.Conn
	other := assert.Must(w.Server.ServeTCP(at(w.V4.Server, 444)))(t) // all ports are free towards this server
	for range 10 {
		open = append(open, assert.Must(p.Dial(soon(t), "tcp", netip.AddrPort{}, other.Addr()))(t))
	}
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	x := group(other.Addr())
	if x.Used != 10 || x.Closing != 0 || x.Level != "critical" || len(x.Holders) != 1 || x.Holders[0].Owner != p.owner() || x.Holders[0].Ports != 10 {
		t.Errorf("with ten open connections: %+v", x)
	}
}

// portGroup has the fields of inspect ports that a program reads.
type portGroup struct {
	Destination           netip.Addr
	DestinationPort       uint16
	Used, Usable, Closing int
	Share                 float64
	Level                 string
	Holders               []report.PortHolder
}
