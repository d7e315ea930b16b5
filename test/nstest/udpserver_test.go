package nstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestUDPServer(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	for _, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeUDP(at(p.Server, 0)))(t)
		for _, size := range []int{0, 100, 60_000} {
			assert.NoError(t, topo.Node.EchoUDP(within(t), at(netip.Addr{}, 600), srv.Addr(), size))
		}
		c := assert.Must(topo.Node.DialUDP(netip.AddrPort{}, srv.Addr()))(t)
		if !c.RemoteAddr().(*net.UDPAddr).IP.Equal(p.Server.AsSlice()) {
			t.Errorf("dialled %s", c.RemoteAddr())
		}
		assert.NoError(t, c.Close())
		got := assert.Must(srv.WaitSeen(within(t), 3))(t)
		if len(srv.Seen()) != 3 || got[2] != (Datagram{at(p.Node, 600), 60_000}) {
			t.Errorf("seen %v", got)
		}
		assert.NoError(t, srv.Close())
		err := topo.Node.EchoUDP(within(t), netip.AddrPort{}, srv.Addr(), 1)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("echo of a closed server: %v", err)
		}
		silent := assert.Must(topo.Server.ListenUDP(at(p.Server, 0)))(t)
		err = topo.Node.EchoUDP(withinTime(t, 30*time.Millisecond), netip.AddrPort{}, addrPort(silent.LocalAddr()), 1)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("echo of a silent server: %v", err)
		}
		assert.NoError(t, silent.Close())
	}
}
