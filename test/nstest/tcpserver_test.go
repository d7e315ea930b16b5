package nstest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

func TestTCPServer(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	for _, p := range topo.Plans() {
		srv := assert.Must(topo.Server.ServeTCP(at(p.Server, 0)))(t)
		down := assert.Must(topo.Node.Download(within(t), srv.Addr(), 123_456))(t)
		up := assert.Must(topo.Node.Upload(within(t), srv.Addr(), 234_567))(t)
		if down.Bytes != 123_456 || up.Bytes != 234_567 || down.Duration <= 0 {
			t.Errorf("down %+v, up %+v", down, up)
		}
		// The same privileged port twice: the first connection leaves it in TIME_WAIT.
		for range 2 {
			who := assert.Must(topo.Node.Who(within(t), at(netip.Addr{}, 999), srv.Addr()))(t)
			if who != at(p.Node, 999) {
				t.Errorf("seen as %s", who)
			}
		}
		c := assert.Must(topo.Node.Dial(within(t), "tcp", netip.AddrPort{}, srv.Addr()))(t)
		assert.Must(io.WriteString(c, "ECHO\nhello\n"))(t)
		if line := assert.Must(bufio.NewReader(c).ReadString('\n'))(t); line != "hello\n" {
			t.Errorf("echo %q", line)
		}
		got := assert.Must(srv.WaitSources(within(t), 5))(t)
		if got[0] != down.Local || got[1] != up.Local || got[4] != addrPort(c.LocalAddr()) || len(srv.Sources()) != 5 {
			t.Errorf("sources %v", got)
		}
		assert.NoError(t, srv.Close()) // with an open ECHO connection
		assert.NoError(t, srv.Close())
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes from a closed server", n)
		}
		assert.NoError(t, c.Close())
		if _, err := topo.Node.Download(within(t), srv.Addr(), 1); err == nil {
			t.Error("a closed server serves")
		}
	}
}

func TestTransferEndsWithItsContext(t *testing.T) {
	topo := assert.Must(New(t).Topology(Uplink{}))(t)
	l := assert.Must(topo.Server.Listen(at(topo.V4.Server, 0)))(t) // a listener without a server, so no answer comes
	defer shut(l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := topo.Node.Download(ctx, addrPort(l.Addr()), 1)
		done <- err
	}()
	c := assert.Must(l.Accept())(t) // the client now waits for an answer
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	assert.NoError(t, c.Close())
}
